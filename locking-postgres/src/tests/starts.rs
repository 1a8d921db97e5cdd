//! Starts that fail, or are given up half way: at once, and later, where the tables were made meanwhile.

use std::sync::Arc;
use std::time::Duration;

use locking_core::{Error, LockingModule, LockingProvider, OwnerId, WaitUntil};
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
    let refused = async {
        while server.command(waiting).await.expect("counted") != "0" {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), refused).await.expect("nobody waits for ever");
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
    options.command_timeout = Duration::from_secs(1);
    let provider = unstarted(&server, options).await;
    server.pause().await.expect("paused");
    let soon = WaitUntil::Deadline(Instant::now() + Duration::from_millis(100));
    let in_time =
        timeout(Duration::from_millis(500), provider.acquire(lease("k").with_wait(soon))).await;
    let asked = timeout(Duration::from_secs(10), provider.acquire(lease("k"))).await;
    server.resume().await.expect("resumed");
    let answer = in_time.expect("its own time is over");
    assert!(matches!(answer, Err(Error::TimedOut { .. })), "{answer:?}");
    let answer = asked.expect("it doesn't wait for the server");
    assert!(matches!(answer, Err(Error::Unavailable { .. })), "{answer:?}");
    provider.acquire(lease("k")).await.expect("granted");
}

#[tokio::test]
async fn a_later_start_is_not_begun_anew_for_each_who_has_no_time_for_it() {
    let server = server().await;
    let provider = unstarted(&server, options(&server)).await;
    let owner = OwnerId::new("owner").expect("an owner");
    let granted = async {
        loop {
            let request = lease("k").with_owner(owner.clone());
            let asked = timeout(Duration::from_millis(10), provider.acquire(request)).await;
            if let Ok(answer) = asked {
                return answer;
            }
        }
    };
    let answer = timeout(Duration::from_secs(5), granted).await.expect("it has started meanwhile");
    answer.expect("granted");
}

#[tokio::test]
async fn a_later_start_that_fails_is_begun_once_more_for_whoever_waits() {
    let server = server().await;
    let provider = unstarted(&server, options(&server)).await;
    let command = async |sql: &str| server.command(sql).await.expect("executed");
    command("ALTER FUNCTION later.locking_join RENAME TO elsewhere").await;
    let refused = provider.acquire(lease("k")).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    let soon = WaitUntil::Deadline(Instant::now() + Duration::from_millis(300));
    let refused = provider.acquire(lease("k").with_wait(soon)).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");

    let later = WaitUntil::Deadline(Instant::now() + Duration::from_secs(10));
    let mut waits = provider.acquire(lease("k").with_wait(later));
    timeout(Duration::from_millis(300), &mut waits).await.map(drop).expect_err("it waits");
    command("ALTER FUNCTION later.elsewhere RENAME TO locking_join").await;
    waits.await.expect("granted");
}

#[tokio::test]
async fn a_later_start_on_a_server_without_room_says_so() {
    let server = server().await;
    let provider = unstarted(&server, options(&server)).await;
    let full = "CREATE OR REPLACE FUNCTION later.locking_join(p_bound bigint, p_former integer) RETURNS integer
                    LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full; END $$";
    server.command(full).await.expect("replaced");
    let refused = provider.acquire(lease("k")).await;
    assert!(matches!(refused, Err(Error::CapacityExceeded { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_caller_that_is_not_polled_holds_up_no_later_start() {
    let server = server().await;
    let provider = unstarted(&server, options(&server)).await;
    let mut first = provider.acquire(lease("k"));
    timeout(Duration::ZERO, &mut first).await.map(drop).expect_err("it takes longer");
    let second = timeout(Duration::from_secs(5), provider.acquire(lease("l"))).await;
    second.expect("it waits for nobody").expect("granted");
    first.await.expect("granted");
}

#[test]
fn a_later_start_for_a_caller_in_another_runtime_does_not_end_with_that() {
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime");
    let (own, other) = (runtime(), runtime());
    let server = own.block_on(server());
    let mut options = options(&server);
    options.takeover.heartbeat = Duration::from_millis(100);
    let provider = own.block_on(unstarted(&server, options));
    other.block_on(provider.acquire(lease("k"))).expect("granted");
    drop(other);
    let module = LockingModule::with_provider(Arc::new(provider));
    own.block_on(async {
        let guard = module.lock("l").await.expect("free");
        sleep(Duration::from_millis(500)).await;
        guard.check().expect("held");
        guard.release().await.expect("held");
    });
}

#[tokio::test]
async fn a_provider_that_is_closed_in_its_later_start_has_no_connection_any_more() {
    let server = server().await;
    let mut options = options(&server);
    options.takeover.heartbeat = Duration::from_millis(100);
    let provider = unstarted(&server, options).await;
    let in_the_way = hold_all_guards(&server).await;
    let close = async {
        let rehearsing = async {
            while server.connections().await.expect("counted") < 4 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(5), rehearsing).await.expect("the start has begun");
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
