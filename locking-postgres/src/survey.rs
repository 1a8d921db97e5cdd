use std::sync::Arc;
use std::time::Duration;

use locking_core::{FencingToken, HoldKind, LockInfo, LockKey, OwnerId, ReleaseScope};
use tokio_postgres::Row;

use crate::database::Database;
use crate::failure::Failure;
use crate::statement::OwnValues;

/// How many holds are looked at in one statement.
const PAGE: i32 = 1000;

/// Frees what the scope covers; answers how many. Only what was held when this began: whatever is granted
/// later has a greater token.
pub(crate) async fn release_all(
    database: &Arc<Database>,
    scope: &ReleaseScope,
) -> Result<u64, Failure> {
    let rows = database.call(|statements| &statements.newest, Vec::new()).await?;
    let limit: i64 = rows.first().ok_or_else(Failure::unexpected)?.try_get(0)?;
    let owner = scope.owner.as_ref().map(|owner| owner.as_str().to_owned());
    let (mut freed, mut after) = (0, String::new());
    loop {
        let values: OwnValues = vec![
            Box::new(database.most),
            Box::new(database.patience()),
            Box::new(limit),
            Box::new(owner.clone()),
            Box::new(scope.including_running),
            Box::new(after),
            Box::new(PAGE),
        ];
        let rows = database.call(|statements| &statements.release_all, values).await?;
        let row = rows.first().ok_or_else(Failure::unexpected)?;
        freed += u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0);
        match row.try_get(1)? {
            Some(last) => after = last,
            None => return Ok(freed),
        }
    }
}

/// Who holds what, in the byte order of the keys, and the request by which the database knows the hold.
pub(crate) async fn list(database: &Arc<Database>) -> Result<Vec<(LockInfo, String)>, Failure> {
    let mut found: Vec<(LockInfo, String)> = Vec::new();
    loop {
        let after = found.last().map_or_else(String::new, |(last, _)| last.key.as_str().to_owned());
        let values: OwnValues = vec![Box::new(after), Box::new(PAGE)];
        let rows = database.call(|statements| &statements.list, values).await?;
        let is_last = rows.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        for row in &rows {
            found.push(info(row)?);
        }
        if is_last {
            return Ok(found);
        }
    }
}

/// Who holds a key.
pub(crate) async fn inspect(
    database: &Arc<Database>,
    key: &LockKey,
) -> Result<Option<(LockInfo, String)>, Failure> {
    let values: OwnValues = vec![Box::new(key.as_str().to_owned())];
    let rows = database.call(|statements| &statements.inspect, values).await?;
    rows.first().map(info).transpose()
}

/// Clears what is over, if `every` has gone by since somebody last did.
pub(crate) async fn sweep(database: &Arc<Database>, every: Duration) -> Result<(), Failure> {
    let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
    loop {
        let values: OwnValues =
            vec![Box::new(database.most), Box::new(database.patience()), Box::new(every)];
        let rows = database.call(|statements| &statements.sweep, values).await?;
        if !rows.first().ok_or_else(Failure::unexpected)?.try_get::<_, bool>(0)? {
            return Ok(());
        }
    }
}

fn info(row: &Row) -> Result<(LockInfo, String), Failure> {
    let key = LockKey::new(row.try_get::<_, String>(0)?).map_err(|_| Failure::unexpected())?;
    let token = u64::try_from(row.try_get::<_, i64>(1)?).map_err(|_| Failure::unexpected())?;
    let kind = match row.try_get(2)? {
        "g" => HoldKind::Guard,
        _ => HoldKind::Lease,
    };
    let ends_in: Option<i64> = row.try_get(5)?;
    let ends_in = ends_in.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    let info = LockInfo::new(key, FencingToken::new(token), kind)
        .with_owner(OwnerId::new(row.try_get::<_, String>(4)?).ok())
        .with_expires_in(ends_in);
    Ok((info, row.try_get(3)?))
}
