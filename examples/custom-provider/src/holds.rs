//! What is done to the holds: each function is the work of one transaction, and leaves nothing if it fails.

use std::ops::Range;
use std::time::Duration;

use locking_core::{
    AcquireRequest, Expiry, FencingToken, HoldKind, KeySet, Lease, LeasedKey, LockInfo, LockKey,
    OwnerId, ReleaseScope,
};
use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Result, Row, Transaction};

use crate::boot::{BootTime, nanos};

/// How many are swept away in one transaction: others want to write, too.
const SOME: u32 = 500;

/// Takes all keys, or none: then it names the first that somebody else holds.
pub(crate) fn acquire(
    transaction: &Transaction<'_>,
    now: BootTime,
    request: &AcquireRequest,
) -> Result<Result<Vec<LeasedKey>, LockKey>> {
    let held = match enterable(transaction, now, request)? {
        Ok(held) => held,
        Err(blocking) => return Ok(Err(blocking)),
    };
    let mut tokens = draw(transaction, held.iter().filter(|hold| hold.is_none()).count())?;
    let ends = request.expiry.map(|expiry| Ends::after(now, expiry));
    let mut leased = Vec::with_capacity(held.len());
    for (key, hold) in request.keys.iter().zip(held) {
        leased.push(match hold {
            Some(hold) => {
                prolong(transaction, key, ends)?;
                LeasedKey::reentered(key.clone(), hold.token)
            }
            None => {
                let token = tokens.next().expect("one was drawn for each free key");
                take(transaction, key, request, token, ends)?;
                LeasedKey::taken(key.clone(), FencingToken::new(token.cast_unsigned()))
            }
        });
    }
    Ok(Ok(leased))
}

/// What is held of the keys, by the owner who asks; or the first that somebody else holds.
pub(crate) fn enterable(
    connection: &Connection,
    now: BootTime,
    request: &AcquireRequest,
) -> Result<Result<Vec<Option<LockInfo>>, LockKey>> {
    // The keys come sorted, so the first that blocks is the first in byte order.
    let mut held = Vec::with_capacity(request.keys.len());
    for key in &request.keys {
        match find(connection, now, key)? {
            Some(hold) if !is_reentered(&hold, request) => return Ok(Err(key.clone())),
            hold => held.push(hold),
        }
    }
    Ok(Ok(held))
}

/// Sets the time of all keys of a lease, or of none: then it names the first that isn't held any more.
pub(crate) fn extend(
    transaction: &Transaction<'_>,
    now: BootTime,
    lease: &Lease,
    expiry: Expiry,
) -> Result<Result<(), LockKey>> {
    for leased in lease.keys() {
        let hold = find(transaction, now, &leased.key)?;
        if !hold.is_some_and(|hold| hold.token == leased.token && hold.owner == lease.owner) {
            return Ok(Err(leased.key.clone()));
        }
    }
    let ends = Ends::after(now, expiry);
    let mut extend = transaction.prepare_cached(include_str!("sql/extend.sql"))?;
    for leased in lease.keys() {
        extend.execute((leased.key.as_str(), ends.at, ends.lasts))?;
    }
    Ok(Ok(()))
}

/// Gives back the leases of an owner, or of nobody in particular. Answers whether that was every key.
pub(crate) fn release(
    transaction: &Transaction<'_>,
    now: BootTime,
    keys: &KeySet,
    owned_by: &Option<OwnerId>,
) -> Result<bool> {
    let mut release = transaction.prepare_cached(include_str!("sql/release.sql"))?;
    let mut all = true;
    for key in keys {
        all &= release.execute((key.as_str(), owner(owned_by), now))? == 1;
    }
    Ok(all)
}

/// Gives back what a lease took; if it held some of that no more, it names the first.
pub(crate) fn release_lease(
    transaction: &Transaction<'_>,
    now: BootTime,
    lease: &Lease,
) -> Result<Result<(), LockKey>> {
    let mut release = transaction.prepare_cached(include_str!("sql/release_lease.sql"))?;
    let mut gone = None;
    for leased in lease.taken() {
        let token = leased.token.get().cast_signed();
        if release.execute((leased.key.as_str(), owner(&lease.owner), token, now))? == 0 {
            gone.get_or_insert_with(|| leased.key.clone());
        }
    }
    Ok(gone.map_or(Ok(()), Err))
}

/// Frees what is in the scope, and answers how much that was.
pub(crate) fn release_all(
    transaction: &Transaction<'_>,
    now: BootTime,
    scope: &ReleaseScope,
) -> Result<u64> {
    let freed = match &scope.owner {
        None => transaction
            .prepare_cached(include_str!("sql/release_all.sql"))?
            .execute((scope.including_running, now))?,
        Some(owner) => transaction
            .prepare_cached(include_str!("sql/release_all_of_owner.sql"))?
            .execute((scope.including_running, now, owner.as_str()))?,
    };
    Ok(freed as u64)
}

/// Who holds a key.
pub(crate) fn find(
    connection: &Connection,
    now: BootTime,
    key: &LockKey,
) -> Result<Option<LockInfo>> {
    let mut find = connection.prepare_cached(include_str!("sql/find.sql"))?;
    find.query_row((key.as_str(), now), |row| hold(row, now)).optional()
}

/// Who holds what.
pub(crate) fn list(connection: &Connection, now: BootTime) -> Result<Vec<LockInfo>> {
    let mut list = connection.prepare_cached(include_str!("sql/list.sql"))?;
    list.query_map([now], |row| hold(row, now))?.collect()
}

/// Whether it is a guard's, of what a lease speaks of. All that was acquired in one call is of one kind, and
/// what was entered again is a lease's.
pub(crate) fn is_guards(connection: &Connection, lease: &Lease) -> Result<bool> {
    let Some(leased) = lease.keys().first() else { return Ok(false) };
    let mut kind = connection.prepare_cached(include_str!("sql/kind.sql"))?;
    let hold = (leased.key.as_str(), leased.token.get().cast_signed());
    let kind: Option<String> = kind.query_row(hold, |row| row.get(0)).optional()?;
    Ok(kind.as_deref() == Some(GUARD))
}

/// Removes some of what is over. Answers whether there may be more.
pub(crate) fn sweep(transaction: &Transaction<'_>, now: BootTime) -> Result<bool> {
    let mut sweep = transaction.prepare_cached(include_str!("sql/sweep.sql"))?;
    Ok(sweep.execute((now, SOME))? == SOME as usize)
}

/// An owner enters its leases again. Nobody enters a guard, or what has no owner.
fn is_reentered(hold: &LockInfo, request: &AcquireRequest) -> bool {
    let are_leases = hold.kind == HoldKind::Lease && request.hold.kind() == HoldKind::Lease;
    are_leases && hold.owner.is_some() && hold.owner == request.owner
}

/// When a hold ends, and for how long that is.
#[derive(Clone, Copy)]
struct Ends {
    at: BootTime,
    lasts: i64,
}

impl Ends {
    fn after(now: BootTime, expiry: Expiry) -> Self {
        Self { at: now.after(expiry.get()), lasts: nanos(expiry.get()) }
    }
}

fn take(
    transaction: &Transaction<'_>,
    key: &LockKey,
    request: &AcquireRequest,
    token: i64,
    ends: Option<Ends>,
) -> Result<()> {
    let (owner, kind) = (owner(&request.owner), written(request.hold.kind()));
    let (at, lasts) = (ends.map(|ends| ends.at), ends.map(|ends| ends.lasts));
    let mut take = transaction.prepare_cached(include_str!("sql/take.sql"))?;
    take.execute((key.as_str(), owner, kind, token, at, lasts))?;
    Ok(())
}

fn prolong(transaction: &Transaction<'_>, key: &LockKey, ends: Option<Ends>) -> Result<()> {
    if let Some(ends) = ends {
        let mut prolong = transaction.prepare_cached(include_str!("sql/prolong.sql"))?;
        prolong.execute((key.as_str(), ends.at, ends.lasts))?;
    }
    Ok(())
}

/// So many tokens, each greater than all before.
fn draw(transaction: &Transaction<'_>, count: usize) -> Result<Range<i64>> {
    if count == 0 {
        return Ok(0..0);
    }
    let count = count as i64;
    let mut draw = transaction.prepare_cached(include_str!("sql/draw.sql"))?;
    let last: i64 = draw.query_row([count], |row| row.get(0))?;
    Ok(last - count + 1..last + 1)
}

const LEASE: &str = "lease";
const GUARD: &str = "guard";

fn written(kind: HoldKind) -> &'static str {
    match kind {
        HoldKind::Guard => GUARD,
        _ => LEASE,
    }
}

fn owner(owner: &Option<OwnerId>) -> Option<&str> {
    owner.as_ref().map(OwnerId::as_str)
}

fn hold(row: &Row<'_>, now: BootTime) -> Result<LockInfo> {
    let key = LockKey::new(row.get_ref(0)?.as_str()?).map_err(|error| unreadable(0, error))?;
    let owner = match row.get_ref(1)?.as_str_or_null()? {
        None => None,
        Some(owner) => Some(OwnerId::new(owner).map_err(|error| unreadable(1, error))?),
    };
    let kind = if row.get_ref(2)?.as_str()? == GUARD { HoldKind::Guard } else { HoldKind::Lease };
    let token = FencingToken::new(row.get::<_, i64>(3)?.cast_unsigned());
    let expires: Option<BootTime> = row.get(4)?;
    let left: Option<Duration> = expires.map(|expires| expires.since(now));
    Ok(LockInfo::new(key, token, kind).with_owner(owner).with_expires_in(left))
}

/// Nobody but this crate writes to the file.
fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
