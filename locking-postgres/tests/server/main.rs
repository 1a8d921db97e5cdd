//! The provider against real servers: what else is on them, how they are set up, and what happens to them.
//!
//! `LOCKING_TEST_SCALE=full` does the heavy tests at full scale.

mod cancels;
mod collisions;
mod crashes;
mod deadlocks;
mod defaults;
mod lock_table;
mod many;
mod poolers;
mod pools;
mod races;
mod rights;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use locking_core::{ConfigurationError, Error, LockingModule, LockingProvider, ProviderId, Result};
use locking_postgres::{IDENTIFIER, PostgresOptions, PostgresProvider};
use locking_testkit::servers::{Postgres, PostgresSetup};
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, NoTls};

/// The contract's bound for what takes a moment.
const SOON: Duration = Duration::from_secs(1);

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(60);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// How much a heavy test does: for a release, and for every test run.
fn scaled<T>(full: T, gate: T) -> T {
    if std::env::var("LOCKING_TEST_SCALE").is_ok_and(|scale| scale == "full") { full } else { gate }
}

async fn server() -> Postgres {
    PostgresSetup::new().start().await.expect("a server")
}

fn options(url: &str) -> PostgresOptions {
    let mut options = PostgresOptions::new(url).expect("a URL");
    options.migrate_at_start = true;
    options
}

fn id() -> ProviderId {
    ProviderId::new(IDENTIFIER).expect("an id")
}

async fn connect(options: PostgresOptions) -> Result<Arc<dyn LockingProvider>> {
    Ok(Arc::new(PostgresProvider::connect(id(), options).await?))
}

/// One more client, with the default options.
async fn client(server: &Postgres) -> Arc<dyn LockingProvider> {
    connect(options(&server.url())).await.expect("the server can be reached")
}

/// One whose session is over soon when it is gone.
async fn quick(url: &str) -> Arc<dyn LockingProvider> {
    let mut options = options(url);
    (options.takeover.heartbeat, options.takeover.session_timeout) = (ms(500), ms(3000));
    connect(options).await.expect("connected")
}

async fn module(server: &Postgres) -> LockingModule {
    LockingModule::with_provider(client(server).await)
}

/// What is wrong with an option, by its path.
fn problem<T>(result: Result<T>) -> (String, String) {
    match result.map(drop).expect_err("refused") {
        Error::Configuration(ConfigurationError::Option { path, problem, .. }) => {
            (path.to_string(), problem.to_string())
        }
        other => panic!("another error: {other:?}"),
    }
}

/// A session of somebody else's.
async fn foreign(server: &Postgres) -> Client {
    let (client, connection) =
        tokio_postgres::connect(&server.url(), NoTls).await.expect("connected");
    tokio::spawn(connection);
    client
}

async fn number(server: &Postgres, sql: &str) -> i64 {
    let answer = server.command(sql).await.expect("the server answers");
    answer.trim().parse().expect("a number")
}

/// The dead-locks that the server had to resolve.
async fn deadlocks(server: &Postgres) -> i64 {
    // Sessions report once a second at most.
    sleep(ms(1100)).await;
    number(server, "SELECT sum(deadlocks)::bigint FROM pg_stat_database").await
}

/// Waits until nothing is held, and nobody waits.
async fn until_nothing_is_left(server: &Postgres) {
    let left = "SELECT (SELECT count(*) FROM locking.locking) + (SELECT count(*) FROM locking.locking_guard)
                + (SELECT count(*) FROM locking.locking_queue)";
    let give_up = Instant::now() + SOON * 2;
    loop {
        let left = number(server, left).await;
        if left == 0 {
            return;
        }
        assert!(Instant::now() < give_up, "{left} rows are left");
        sleep(ms(20)).await;
    }
}

/// Whether nobody holds a key: it is taken and given back.
async fn is_free(module: &LockingModule, key: &str) -> bool {
    match module.acquire(key).await {
        Ok(lease) => {
            assert!(module.release_lease(&lease).await.expect("answered"), "just taken");
            true
        }
        Err(Error::Held { .. }) => false,
        Err(error) => panic!("a key can be asked for: {error:?}"),
    }
}
