//! Poolers that give a client a backend of the server's for one transaction only. Behind one, a session
//! is nobody's: what is locked or listened to in it is somebody else's in the next moment.

use std::time::Duration;

use deadpool_postgres::{Object, Pool, Timeouts};
use locking_core::{ConfigurationError, ProviderId, Result};
use tokio::time::timeout;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::connect::Connector;
use crate::failure::Failure;

/// Which backend carries out what is asked: behind such a pooler, now this one, now that one.
pub(crate) const BACKEND: &str = "SELECT pg_backend_pid()";

/// How often two clients ask which backend is theirs.
const ROUNDS: usize = 3;

/// What to do about it.
const ADVICE: &str = "a pooler that shares its connections between transactions lies before the server: set `pgbouncer: true`, or connect to the server itself";

/// Refuses to go on where such a pooler is seen.
///
/// # Errors
///
/// - [`Error::Configuration`](locking_core::Error::Configuration) if there is one.
/// - Others if nobody answers.
pub(crate) async fn refuse(connector: &Connector, limit: Duration, id: &ProviderId) -> Result<()> {
    let looked = timeout(limit, is_there(connector)).await;
    match looked.unwrap_or_else(|_| Err(Failure::not_connected_in_time())) {
        Ok(false) => Ok(()),
        Ok(true) => Err(advice().into()),
        Err(failure) => Err(failure.into_error(id)),
    }
}

/// The same for two connections of an application's pool, where two are free.
pub(crate) async fn refuse_within(pool: &Pool, limit: Duration) -> Result<(), ConfigurationError> {
    let looked = timeout(limit, async {
        let (one, other) = (free(pool).await?, free(pool).await?);
        let (one, other) = (Looked(Some(one)), Looked(Some(other)));
        let shared = share_backends(one.client(), other.client()).await.ok()?;
        one.give_back();
        other.give_back();
        Some(shared)
    });
    if looked.await.ok().flatten() == Some(true) { Err(advice()) } else { Ok(()) }
}

/// One that is free now: the application doesn't wait for this.
async fn free(pool: &Pool) -> Option<Object> {
    let now = Timeouts { wait: Some(Duration::ZERO), ..Timeouts::default() };
    pool.timeout_get(&now).await.ok()
}

/// A connection of a pool, which goes back only if nothing is under way on it.
struct Looked(Option<Object>);

impl Looked {
    fn client(&self) -> &Client {
        self.0.as_ref().expect("it is there until it is given back")
    }

    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Looked {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(Object::take(connection));
        }
    }
}

pub(crate) fn advice() -> ConfigurationError {
    ConfigurationError::option("pgbouncer", ADVICE)
}

/// Whether two clients, who ask in turns, have each other's backends. It can't be seen in any case: with
/// many clients at work, each may be given its own by chance.
async fn is_there(connector: &Connector) -> Result<bool, Failure> {
    let (one, of_one) = connector.session().await?;
    of_one
        .during(async move {
            let (other, of_other) = connector.session().await?;
            // Both are dropped with it: else their connections would be waited for.
            of_other.during(async move { share_backends(&one, &other).await }).await
        })
        .await
}

async fn share_backends(one: &Client, other: &Client) -> Result<bool, Failure> {
    let (first, second) = (backend(one, BACKEND).await?, backend(other, BACKEND).await?);
    if first == second {
        return Ok(true);
    }
    for _ in 0..ROUNDS {
        // At the same time, and the one that is given back last is the second's.
        let within = format!("BEGIN; {BACKEND}");
        let found = (backend(one, &within).await?, backend(other, &within).await?);
        one.batch_execute("COMMIT").await?;
        other.batch_execute("COMMIT").await?;
        let after = (backend(one, BACKEND).await?, backend(other, BACKEND).await?);
        if [found, after].iter().any(|seen| (&seen.0, &seen.1) != (&first, &second)) {
            return Ok(true);
        }
    }
    Ok(false)
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
