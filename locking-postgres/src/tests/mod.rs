//! What needs a server, but no provider.

#[path = "../../../locking-core/tests/support/capture.rs"]
#[allow(dead_code, reason = "spans are the core's")]
mod capture;
mod connect;
mod hardships;
mod migrations;
mod outages;
mod starts;
#[cfg(feature = "tls")]
mod tls;

use std::time::Duration;

use locking_core::{AcquireRequest, Expiry, KeySet, LockKey, ProviderId, WaitUntil};
use locking_testkit::servers::{Postgres, PostgresSetup};

use crate::connect::Connector;
use crate::migrate::migrate;
use crate::options::PostgresOptions;
use crate::provider::PostgresProvider;

fn id() -> ProviderId {
    ProviderId::new("locking-postgres").expect("an id")
}

fn connector(url: &str) -> Connector {
    let options = PostgresOptions::new(url).expect("an address");
    Connector::new(&options).expect("valid")
}

async fn server() -> Postgres {
    let setup = PostgresSetup::new().setting("deadlock_timeout", "300ms");
    let server = setup.start().await.expect("a server");
    migrate(&id(), &connector(&server.url()), "locking").await.expect("migrated");
    server
}

fn options(server: &Postgres) -> PostgresOptions {
    PostgresOptions::new(server.url()).expect("an address")
}

async fn provider(options: PostgresOptions) -> PostgresProvider {
    PostgresProvider::connect(id(), options).await.expect("connected")
}

fn key(key: &str) -> LockKey {
    LockKey::new(key).expect("a key")
}

fn lease(text: &str) -> AcquireRequest {
    let keys = KeySet::new([key(text)]).expect("keys");
    let expiry = Expiry::new(Duration::from_secs(30)).expect("an expiry");
    AcquireRequest::new(keys).with_expiry(expiry).with_wait(WaitUntil::Now)
}

/// Keeps every statement from what it is asked for, as one on more keys than it may take guards of does.
async fn hold_all_guards(server: &Postgres) -> tokio_postgres::Client {
    let (client, connection) = connector(&server.url()).session().await.expect("connected");
    tokio::spawn(connection.run());
    let sql = "BEGIN; SELECT pg_advisory_xact_lock(1819239275, 0)";
    client.batch_execute(sql).await.expect("locked");
    client
}
