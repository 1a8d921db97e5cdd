//! Starts that fail, or are given up half way: at once, and later, where the tables were made meanwhile.

use std::time::Duration;

use locking_core::{Error, LockingProvider};
use locking_testkit::servers::Postgres;
use tokio::time::{Instant, sleep, timeout};

use super::{connector, hold_all_guards, id, lease, options, provider, server};
use crate::migrate::migrate;
use crate::options::PostgresOptions;
use crate::provider::PostgresProvider;

/// A provider that isn't started yet: its tables were made after it had connected.
async fn unstarted(server: &Postgres, options: PostgresOptions) -> PostgresProvider {
    let provider = provider(options.with_schema("later").expect("a name")).await;
    migrate(&id(), &connector(&server.url()), "later").await.expect("migrated");
    provider
}

#[tokio::test]
async fn a_rehearsal_that_fails_leaves_no_connection_unusable() {
    let server = server().await;
    // Longer than a connection waits for it, and shorter than we wait for the connection.
    let in_the_way = hold_all_guards(&server).await;
    let provider = provider(options(&server)).await;
    drop(in_the_way);
    for text in ["a", "b", "c", "d", "e"] {
        provider.acquire(lease(text)).await.expect("granted");
    }
    provider.close().await.expect("closed");
}

#[tokio::test]
async fn a_later_start_that_is_given_up_in_a_rehearsal_that_fails_leaves_no_connection_unusable() {
    let server = server().await;
    let provider = unstarted(&server, options(&server)).await;
    let in_the_way = hold_all_guards(&server).await;
    let given_up = timeout(Duration::from_millis(500), provider.acquire(lease("k"))).await;
    given_up.map(drop).expect_err("it is in the rehearsal");
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'";
    while server.command(waiting).await.expect("counted") != "0" {
        sleep(Duration::from_millis(20)).await;
    }
    drop(in_the_way);
    for text in ["a", "b", "c", "d", "e"] {
        provider.acquire(lease(text)).await.expect("granted");
    }
    provider.close().await.expect("closed");
}

#[tokio::test]
async fn a_provider_that_is_given_up_half_way_leaves_no_connection() {
    let server = server().await;
    let in_the_way = hold_all_guards(&server).await;
    let connecting = PostgresProvider::connect(id(), options(&server));
    let given_up = timeout(Duration::from_millis(500), connecting).await;
    given_up.map(drop).expect_err("it is in the rehearsal");
    drop(in_the_way);
    let all_gone = async {
        while server.connections().await.expect("counted") > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), all_gone).await.expect("no connection is left");
}

#[tokio::test]
async fn a_later_start_on_a_server_that_says_nothing_ends() {
    let server = server().await;
    let mut options = options(&server);
    options.command_timeout = Duration::from_millis(300);
    let provider = unstarted(&server, options).await;
    server.pause().await.expect("paused");
    let asked = timeout(Duration::from_secs(5), provider.acquire(lease("k"))).await;
    server.resume().await.expect("resumed");
    let answer = asked.expect("it doesn't wait for the server");
    assert!(matches!(answer, Err(Error::Unavailable { .. })), "{answer:?}");
    provider.acquire(lease("k")).await.expect("granted");
}

#[tokio::test]
async fn a_provider_that_is_closed_in_its_later_start_has_no_connection_any_more() {
    let server = server().await;
    let mut options = options(&server);
    options.takeover.heartbeat = Duration::from_millis(100);
    let provider = unstarted(&server, options).await;
    let in_the_way = hold_all_guards(&server).await;
    let close = async {
        while server.connections().await.expect("counted") < 4 {
            sleep(Duration::from_millis(5)).await;
        }
        provider.close().await
    };
    let (acquired, closed) = tokio::join!(provider.acquire(lease("k")), close);
    assert!(matches!(acquired, Err(Error::Closed { .. })), "{acquired:?}");
    closed.expect("closed");
    drop(in_the_way);
    let all_gone = async {
        while server.connections().await.expect("counted") > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), all_gone).await.expect("no connection is left");
    // Nor is one opened at the next heartbeat.
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        assert_eq!(server.connections().await.expect("counted"), 0);
    }
}
