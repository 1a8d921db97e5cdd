//! Sessions that are ended, and servers that are, while keys are held.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use locking_core::{Error, LockingModule};
use locking_testkit::faults::{Direction, Fault, Proxy};
use locking_testkit::history::{Workload, check};
use locking_testkit::servers::{Postgres, PostgresSetup};
use tokio::time::{Instant, sleep, timeout};

use crate::{LONG, SOON, module, ms, quick, scaled, until_nothing_is_left};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_that_are_ended_at_random_break_no_promise() {
    let server = crate::server().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(quick(&server.url()).await);
    }
    let time = scaled(LONG * 5, Duration::from_secs(5));
    let workload = Workload::new().with_time(time).with_expiry(ms(500));
    let done = AtomicBool::new(false);
    let (history, ended) = tokio::join!(
        async {
            let history = workload.run(&clients, |n| format!("k{n}")).await;
            done.store(true, Ordering::Relaxed);
            history
        },
        async {
            let mut ended = 0;
            while !done.load(Ordering::Relaxed) {
                sleep(ms(fastrand::u64(1..150))).await;
                let victims = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE application_name LIKE 'locking%' AND pid <> pg_backend_pid() AND random() < 0.4";
                ended += crate::number(&server, victims).await;
            }
            ended
        }
    );
    let violations = check(&history);
    assert!(violations.is_empty(), "seed {}: {violations:#?}", workload.seed());
    assert!(history.holds() > 50 && ended > 20, "{} holds, {ended} ended", history.holds());
    for provider in &clients {
        let module = LockingModule::with_provider(Arc::clone(provider));
        let works = async {
            while module.lock("again").timeout(LONG).await.is_err() {
                sleep(ms(20)).await;
            }
        };
        timeout(LONG, works).await.expect("it works again by itself");
    }
    until_nothing_is_left(&server).await;
}

#[derive(Clone, Copy)]
enum End {
    Immediately,
    Killed,
}

/// A guard in a client that learns nothing, since nothing gets through to it.
async fn nobody_is_granted_what_a_guard_believes_in(server: Postgres, end: End) {
    let proxy = Proxy::to(server.address()).await.expect("a port");
    let deaf = LockingModule::with_provider(quick(&server.url_at(proxy.address())).await);
    let other = LockingModule::with_provider(quick(&server.url()).await);
    let guard = deaf.lock("k").lease(LONG).timeout(LONG).await.expect("free");
    sleep(ms(fastrand::u64(..600))).await;
    for direction in [Direction::ToServer, Direction::ToClient] {
        proxy.inject(Fault::Swallow { direction });
    }
    guard.check().expect("it believes in it");
    match end {
        End::Immediately => server.stop_immediately().await.expect("stopped"),
        End::Killed => server.kill().await.expect("killed"),
    }
    server.start_again().await.expect("started");
    let granted = async {
        loop {
            match other.acquire("k").wait(LONG).await {
                Ok(lease) => return (lease, guard.check()),
                Err(Error::Unavailable { .. } | Error::UnknownOutcome { .. }) => {
                    sleep(ms(5)).await;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    let (lease, checked) = timeout(ms(8_000), granted).await.expect("long before its lease ends");
    assert!(matches!(checked, Err(Error::Lost { .. })), "it believes in it: {checked:?}");
    assert!(guard.token() < lease.token());
}

#[tokio::test]
async fn after_an_immediate_stop_nobody_is_granted_what_a_guard_believes_in() {
    nobody_is_granted_what_a_guard_believes_in(crate::server().await, End::Immediately).await;
}

#[tokio::test]
async fn after_a_crash_nobody_is_granted_what_a_guard_believes_in() {
    let server = PostgresSetup::new().durable().start().await.expect("a server");
    nobody_is_granted_what_a_guard_believes_in(server, End::Killed).await;
}

#[tokio::test]
async fn a_guard_that_is_told_of_the_servers_end_is_lost_and_its_key_is_free_again() {
    let server = crate::server().await;
    for round in 0..3 {
        let (holder, other) = (quick(&server.url()).await, quick(&server.url()).await);
        let (holder, other) =
            (LockingModule::with_provider(holder), LockingModule::with_provider(other));
        let guard = holder.lock("k").lease(LONG).timeout(LONG).await.expect("free");
        match round {
            0 => server.stop().await.expect("stopped"),
            1 => server.stop_immediately().await.expect("stopped"),
            _ => server.kill().await.expect("killed"),
        }
        timeout(SOON, guard.lost()).await.expect("its session is gone");
        server.start_again().await.expect("started");
        let free = async {
            loop {
                match other.lock("k").timeout(LONG).await {
                    Ok(next) => return next,
                    Err(_) => sleep(ms(5)).await,
                }
            }
        };
        let next = timeout(ms(8_000), free).await.expect("long before its lease ends");
        assert!(guard.token() < next.token());
        next.release().await.expect("held");
        drop(guard);
        holder.close(LONG).await.expect("closed");
        other.close(LONG).await.expect("closed");
    }
}

#[tokio::test]
async fn tokens_grow_over_emptied_tables_and_a_sequence_that_was_set_back() {
    let server = crate::server().await;
    let module = LockingModule::with_provider(quick(&server.url()).await);
    let next = async || {
        let lease = module.acquire("k").wait(LONG).await.expect("granted when the wait is over");
        assert!(module.release_lease(&lease).await.expect("answered"));
        let guard = module.lock("k").timeout(LONG).await.expect("granted");
        assert!(lease.token() < guard.token());
        let token = guard.token();
        guard.release().await.expect("held");
        token
    };
    let mut last = next().await;
    for damage in [
        "SELECT setval('locking.locking_token', 1)",
        // As the guide says for a dump that was restored.
        "SELECT setval('locking.locking_token', 1);
         TRUNCATE locking.locking_guard, locking.locking_session, locking.locking_queue,
             locking.locking_withdrawn, locking.locking_epoch",
        "TRUNCATE locking.locking_epoch",
    ] {
        server.command(damage).await.expect("done");
        let after = next().await;
        assert!(last < after, "{after} after {last}: {damage}");
        last = after;
    }
}

#[tokio::test]
async fn a_crash_forgets_neither_a_sessions_number_nor_for_how_long_it_is_believed_in() {
    let server = PostgresSetup::new().durable().start().await.expect("a server");
    drop(crate::client(&server).await);
    let join = "SELECT locking.locking_join(90000, 0)";
    let before = crate::number(&server, join).await;
    server.kill().await.expect("killed");
    server.start_again().await.expect("started");
    assert_eq!(crate::number(&server, "SELECT ms FROM locking.locking_bound").await, 90_000);
    assert_ne!(crate::number(&server, join).await, before);
}

#[tokio::test]
async fn after_a_crash_the_wait_for_guards_begins_though_nobody_asks_for_a_key() {
    let server = crate::server().await;
    let client = module(&server).await;
    server.kill().await.expect("killed");
    server.start_again().await.expect("started");
    let epochs = "SELECT count(*) FROM locking.locking_epoch";
    let give_up = Instant::now() + LONG / 4;
    while crate::number(&server, epochs).await == 0 {
        assert!(Instant::now() < give_up, "nothing is swept");
        sleep(ms(50)).await;
    }
    drop(client);
}
