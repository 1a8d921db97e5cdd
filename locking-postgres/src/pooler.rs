//! Poolers that give a client a backend of the server's for one transaction only. Behind one, a session
//! is nobody's: what is locked or listened to in it is somebody else's in the next moment.

use std::time::Duration;

use deadpool_postgres::{Pool, Timeouts};
use locking_core::{ConfigurationError, ProviderId, Result};
use tokio::time::timeout;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::connect::Connector;
use crate::failure::Failure;
use crate::lent::Lent;

/// Which backend carries out what is asked: behind such a pooler, now this one, now that one.
pub(crate) const BACKEND: &str = "SELECT pg_backend_pid()";

/// The same at the begin, and before the end, of a transaction.
const BEGIN: &str = "BEGIN; SELECT pg_backend_pid()";
const COMMIT: &str = "SELECT pg_backend_pid(); COMMIT";

/// How often two clients ask which backend is theirs.
const ROUNDS: usize = 3;

/// What to do about it.
const ADVICE: &str = "a pooler that shares its connections between transactions lies before the server: set `pgbouncer: true`, or connect to the server itself";

const ADVICE_ON_STATEMENTS: &str = "a pooler that shares its connections between statements lies before the server: have it share them between transactions (`pool_mode`), with `pgbouncer: true`, or connect to the server itself";

/// Refuses to go on where such a pooler is seen.
///
/// # Errors
///
/// - [`Error::Configuration`](locking_core::Error::Configuration) if there is one.
/// - Others if nobody answers.
pub(crate) async fn refuse(connector: &Connector, limit: Duration, id: &ProviderId) -> Result<()> {
    match is_there(connector, limit).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(advice().into()),
        Err(failure) => Err(failure.into_error(id)),
    }
}

/// The same for two connections of an application's pool, where two are free.
pub(crate) async fn refuse_within(pool: &Pool, limit: Duration) -> Result<(), ConfigurationError> {
    let looked = async {
        let (one, other) = (free(pool, limit).await?, free(pool, limit).await?);
        let shared = one.during(other.during(share_backends(&one, &other, limit))).await;
        if shared.is_err() {
            // They may be in a transaction.
            drop((one.take(), other.take()));
        }
        Some(shared)
    };
    match looked.await {
        Some(Ok(true)) => Err(advice()),
        Some(Err(failure)) if failure.is_of_statements() => Err(advice_on_statements()),
        _ => Ok(()),
    }
}

/// One that is free now: the application doesn't wait for this.
async fn free(pool: &Pool, limit: Duration) -> Option<Lent> {
    let now = Timeouts { wait: Some(Duration::ZERO), ..Timeouts::default() };
    // One that is opened for it has its time.
    let connection = timeout(limit, pool.timeout_get(&now)).await;
    Some(Lent::new(connection.ok()?.ok()?, None))
}

pub(crate) fn advice() -> ConfigurationError {
    ConfigurationError::option("pgbouncer", ADVICE)
}

/// The same about one that doesn't let anybody begin a transaction.
pub(crate) fn advice_on_statements() -> ConfigurationError {
    ConfigurationError::option("pgbouncer", ADVICE_ON_STATEMENTS)
}

/// Whether two clients, who ask in turns, have each other's backends. It can't be seen in any case: with
/// many clients at work, each may be given its own by chance. Each answer has the whole limit: what is far away
/// isn't absent.
async fn is_there(connector: &Connector, limit: Duration) -> Result<bool, Failure> {
    let opened = tokio::try_join!(connector.session(), connector.session());
    let ((one, of_one), (other, of_other)) = opened?;
    // Both are dropped with it: else their connections would be waited for.
    let look = async move { share_backends(&one, &other, limit).await };
    of_one.during(of_other.during(look)).await
}

async fn share_backends(one: &Client, other: &Client, limit: Duration) -> Result<bool, Failure> {
    let of = |client, asked| backend_within(client, asked, limit);
    let (first, second) = (of(one, BACKEND).await?, of(other, BACKEND).await?);
    if first == second {
        return Ok(true);
    }
    for _ in 0..ROUNDS {
        // At the same time, and the one that is given back last is the second's: a pooler that takes that one next
        // gives it to the first. One that takes them in turns gives the first another one when it asks twice.
        let found = (of(one, BEGIN).await?, of(other, BEGIN).await?);
        let ended = (of(one, COMMIT).await?, of(other, COMMIT).await?);
        let once = of(one, BACKEND).await?;
        let after = (of(one, BACKEND).await?, of(other, BACKEND).await?);
        let is_own = |seen: &(String, String)| (&seen.0, &seen.1) == (&first, &second);
        if once != first || ![found, ended, after].iter().all(is_own) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn backend_within(client: &Client, asked: &str, limit: Duration) -> Result<String, Failure> {
    let answered = timeout(limit, backend(client, asked)).await;
    answered.unwrap_or_else(|_| Err(Failure::unanswered()))
}

/// The backend that carried this out.
pub(crate) async fn backend(client: &Client, asked: &str) -> Result<String, Failure> {
    let answer = client.simple_query(asked).await?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    row.map(str::to_owned).ok_or_else(Failure::unexpected)
}
