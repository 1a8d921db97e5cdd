use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::boot::{BootId, BootTime, least_token};
use crate::error::Failure;
use crate::holds;

/// In their order: a file's version is how many of them it has.
const MIGRATIONS: [&str; 1] = [include_str!("../migrations/V1__tables.sql")];

/// Says in a file's header whose it is. `lock` in ASCII.
const APPLICATION: i32 = 0x6c6f_636b;

/// Finds out whether a file is ours, or nobody's yet, and not a newer build's: changes nothing. Answers how
/// many of the migrations it has.
pub(crate) fn check(transaction: &Transaction<'_>) -> Result<usize, Failure> {
    let number = |pragma: &str| transaction.pragma_query_value(None, pragma, |row| row.get(0));
    let (application, version): (i32, i32) = (number("application_id")?, number("user_version")?);
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match usize::try_from(version) {
        Ok(0) if application == 0 && tables == 0 => Ok(0),
        Ok(version) if application == APPLICATION && version <= MIGRATIONS.len() => Ok(version),
        Ok(version) if application == APPLICATION => Err(Failure::Unusable(format!(
            "is of version {version}, and this build knows none after {}: use a newer one",
            MIGRATIONS.len()
        ))),
        _ => Err(Failure::Unusable(
            "is another program's: give the locks a file of their own".to_owned(),
        )),
    }
}

/// Brings a file up to date, and into this boot. One transaction: of any number of processes that do it at
/// once the first does the work, and the others find it done.
///
/// The version is read under the write lock. (The migration crate for this driver reads it before; the
/// second process would make the tables again.)
pub(crate) fn run(connection: &mut Connection, boot: &BootId) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = check(&transaction)?;
    for migration in &MIGRATIONS[version..] {
        transaction.execute_batch(migration)?;
    }
    if version < MIGRATIONS.len() {
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    }
    begin_boot(&transaction, boot)?;
    transaction.execute(include_str!("sql/raise_tokens.sql"), [least_token()])?;
    Ok(transaction.commit()?)
}

/// Whether a file is still as `run` left it: of this build's version, and of this boot.
pub(crate) fn is_current(transaction: &Transaction<'_>, boot: &BootId) -> rusqlite::Result<bool> {
    let mut version = transaction.prepare_cached("PRAGMA user_version")?;
    let version: i64 = version.query_row((), |row| row.get(0))?;
    if version != MIGRATIONS.len() as i64 {
        return Ok(false);
    }
    let mut found = transaction.prepare_cached(include_str!("sql/boot.sql"))?;
    found.query_row((), |row| Ok(row.get_ref(0)?.as_str()? == boot.as_str()))
}

/// Where the file is of an earlier boot, its moments are no moments of ours.
///
/// Whether the boot ended isn't sure: there are containers whose boot has an id of their own. So no hold is
/// taken from anybody, guards neither: a wrong guess prolongs them.
fn begin_boot(transaction: &Transaction<'_>, boot: &BootId) -> rusqlite::Result<()> {
    let now = BootTime::now();
    if transaction.execute(include_str!("sql/begin_boot.sql"), [boot.as_str()])? > 0 {
        transaction.execute(include_str!("sql/drop_ended.sql"), ())?;
        transaction.execute(include_str!("sql/renew_holds.sql"), [now])?;
    } else {
        // What is over would be renewed if the machine ended before somebody else sweeps.
        holds::sweep(transaction, now)?;
    }
    Ok(())
}
