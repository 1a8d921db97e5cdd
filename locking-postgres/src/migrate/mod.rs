mod history;

use std::time::Duration;

use locking_core::{ConfigurationError, Error, ProviderId, Result};
use refinery_core::error::Kind;
use refinery_core::{Error as RunnerError, Migration, Runner};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, IsolationLevel, SimpleQueryMessage, Transaction};

use self::history::{History, HistoryError};
use crate::connect::Connector;
use crate::failure::Failure;

/// What makes the tables and functions, for whoever runs migrations with a tool of their own: names and
/// SQL texts, in their order. Each is to be run once, with the schema in front: `SET search_path = locking, pg_temp`.
/// They are the files in `migrations/`, without `.sql`.
pub const MIGRATIONS: &[(&str, &str)] = &[
    ("V1__tables", include_str!("../../migrations/V1__tables.sql")),
    ("V2__guards", include_str!("../../migrations/V2__guards.sql")),
    ("V3__asking", include_str!("../../migrations/V3__asking.sql")),
    ("V4__ending", include_str!("../../migrations/V4__ending.sql")),
    ("V5__surveying", include_str!("../../migrations/V5__surveying.sql")),
];

/// What `locking_version()` has to answer, at least.
const NEEDED: i32 = 5;

/// Which migrations have run. The application may use refinery on the same database.
const HISTORY: &str = "locking_migrations";

/// Of the gate that one process at a time goes through, with the schema's name: no lock of somebody
/// else's has this number by chance. `locking` in ASCII.
const GATE: i64 = 0x006c_6f63_6b69_6e67;

/// How long a process waits for the others before the gate, and for whoever uses a table.
const PATIENCE: &str = "60s";

/// For how long all of it may take: longer than that, the server is silent.
const LONGEST: Duration = Duration::from_secs(300);

/// Makes the tables and functions, unless they are there: all of it, or nothing of it. Any number of
/// processes may do so at once, also through a transaction pooler.
///
/// # Errors
///
/// - [`Error::Configuration`] if the user may not, or if what is there isn't ours.
/// - [`Error::Unavailable`] if the server can't be reached, or others were at it for too long.
/// - [`Error::UnknownOutcome`] if the server's last answer got lost; the same call finds out.
pub(crate) async fn migrate(id: &ProviderId, connector: &Connector, schema: &str) -> Result<()> {
    migrate_within(PATIENCE, id, connector, schema).await
}

/// The same, with this much patience at the gate.
pub(crate) async fn migrate_within(
    patience: &str,
    id: &ProviderId,
    connector: &Connector,
    schema: &str,
) -> Result<()> {
    let opened = connector.session().await;
    let (mut client, connection) = opened.map_err(|failure| failure.into_error(id))?;
    let work = async move {
        // Who may only use them finds them made.
        let found = timeout(connector.command_timeout(), version(&client, schema)).await;
        if found.unwrap_or_else(|_| Err(Failure::unanswered()))? >= Some(NEEDED) {
            return Ok(());
        }
        let run = timeout(LONGEST, run(&mut client, schema, patience)).await;
        run.unwrap_or_else(|_| Err(Failure::late().into()))
    };
    connection.during(work).await.map_err(|problem: Problem| problem.explained(id, schema))
}

/// Whether what this build needs is there. It may be newer.
///
/// # Errors
///
/// - [`Error::Configuration`] if it isn't, or if the user may not use it.
/// - [`Error::Unavailable`] if the server doesn't answer.
pub(crate) async fn check(id: &ProviderId, client: &Client, schema: &str) -> Result<()> {
    let found = match version(client, schema).await {
        Ok(Some(version)) if version >= NEEDED => return Ok(()),
        Ok(found) => found,
        Err(failure) if failure.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            let problem = format!(
                "the user may not use the schema `{schema}`: grant it `USAGE` on the schema, `USAGE`, `SELECT`, `UPDATE` on its sequences, `SELECT`, `INSERT`, `UPDATE`, `DELETE` on its tables and `EXECUTE` on its functions"
            );
            return Err(ConfigurationError::store(id, problem).into());
        }
        Err(failure) => return Err(failure.unchanged().into_error(id)),
    };
    let state = match found {
        Some(version) => format!("is of version {version}, and this build needs {NEEDED}"),
        None => "isn't set up".to_owned(),
    };
    let problem = format!(
        "the schema `{schema}` {state}: call `module.migrate()` once, set `migrate_at_start`, or run the files `locking-postgres/migrations/*.sql` after `SET search_path = {schema}, pg_temp`"
    );
    Err(ConfigurationError::store(id, problem).into())
}

/// Which migrations have run, by whatever tool. None if not a single one has.
async fn version(client: &Client, schema: &str) -> Result<Option<i32>, Failure> {
    // A simple query: nothing is prepared, as a pooler would mix it up.
    match client.simple_query(&format!("SELECT \"{schema}\".locking_version()")).await {
        Ok(answer) => {
            let version = first(&answer).and_then(|version| version.parse().ok());
            version.map(Some).ok_or_else(Failure::unexpected)
        }
        Err(error) => match error.code() {
            Some(&SqlState::INVALID_SCHEMA_NAME | &SqlState::UNDEFINED_FUNCTION) => Ok(None),
            _ => Err(error.into()),
        },
    }
}

/// In one transaction: behind a pooler, there is nothing longer than that.
async fn run(client: &mut Client, schema: &str, patience: &str) -> Result<(), Problem> {
    // Who came through the gate sees what was committed before it.
    let transaction = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted);
    let transaction = transaction.read_only(false).start().await?;
    let gate = format!(
        "SET LOCAL lock_timeout = '{patience}';
         SELECT pg_advisory_xact_lock(hashtextextended('{schema}', {GATE}))"
    );
    transaction.batch_execute(&gate).await?;
    if !exists(&transaction, schema).await? {
        transaction.batch_execute(&format!("CREATE SCHEMA \"{schema}\"")).await?;
    }
    transaction.batch_execute(&format!("SET LOCAL search_path = \"{schema}\", pg_temp")).await?;
    runner()?.run_async(&mut History(&transaction)).await?;
    Ok(transaction.commit().await?)
}

/// Whether the schema is there: who may not make one could not say `IF NOT EXISTS` either.
async fn exists(transaction: &Transaction<'_>, schema: &str) -> Result<bool, Failure> {
    let sql = format!("SELECT 1 FROM pg_namespace WHERE nspname = '{schema}'");
    let answer = transaction.simple_query(&sql).await?;
    Ok(first(&answer).is_some())
}

fn runner() -> Result<Runner, RunnerError> {
    let migrations = MIGRATIONS.iter().map(|(name, sql)| Migration::unapplied(name, sql));
    let mut runner = Runner::new(&migrations.collect::<Result<Vec<_>, _>>()?)
        .set_grouped(true)
        // A newer process was faster.
        .set_abort_missing(false);
    runner.set_migration_table_name(HISTORY);
    Ok(runner)
}

/// The first column of the first row.
fn first(answer: &[SimpleQueryMessage]) -> Option<&str> {
    answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    })
}

/// Why the migrations haven't run.
#[derive(Debug)]
enum Problem {
    Failure(Failure),
    Runner(RunnerError),
}

impl Problem {
    fn explained(self, id: &ProviderId, schema: &str) -> Error {
        let problem = match self.into_failure() {
            Ok(failure) => match failure.code() {
                Some(&SqlState::INSUFFICIENT_PRIVILEGE) => format!(
                    "{failure}: migrate the schema `{schema}` once as a user that may, or have the files `locking-postgres/migrations/*.sql` run"
                ),
                Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                    let problem = format!(
                        "somebody else has been migrating the schema `{schema}`, or using what has to change in it, for too long"
                    );
                    return Error::unavailable(id, problem);
                }
                // What we would make is there, and not from us.
                Some(
                    &SqlState::DUPLICATE_TABLE
                    | &SqlState::DUPLICATE_FUNCTION
                    | &SqlState::DUPLICATE_OBJECT
                    | &SqlState::UNDEFINED_COLUMN,
                ) => format!("{failure}: something else in the schema `{schema}` has the name"),
                _ => return failure.into_error(id),
            },
            Err(error) => format!("{error}: that is what the table `{schema}.{HISTORY}` says"),
        };
        ConfigurationError::store(id, problem).into()
    }

    /// Or what the migrations themselves have against it.
    fn into_failure(self) -> Result<Failure, RunnerError> {
        match self {
            Self::Failure(failure) => Ok(failure),
            Self::Runner(error) => match error.kind() {
                Kind::Connection(_, source) => match source.downcast_ref() {
                    Some(HistoryError::Failure(failure)) => Ok(failure.clone()),
                    _ => Err(error),
                },
                _ => Err(error),
            },
        }
    }
}

impl<E: Into<Failure>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Failure(error.into())
    }
}

impl From<RunnerError> for Problem {
    fn from(error: RunnerError) -> Self {
        Self::Runner(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_are_in_the_list_in_their_order() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let files = std::fs::read_dir(folder).expect("the folder of migrations").count();
        assert_eq!(MIGRATIONS.len(), files);
        let runner = runner().expect("names that refinery understands");
        let versions = runner.get_migrations().iter().map(Migration::version);
        assert!(versions.eq(1..=NEEDED), "the last one makes the version that is needed");
    }
}
