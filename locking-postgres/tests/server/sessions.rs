//! Sessions that end without their client's knowing, and with it.

use locking_core::{LockingModule, LossReason};
use locking_testkit::faults::{Direction, Fault, Proxy};
use locking_testkit::servers::Postgres;
use tokio::time::{Instant, timeout};

use crate::{LONG, SOON, module, ms, quick};

async fn end_sessions(server: &Postgres) {
    server.terminate_backends(Some("locking session")).await.expect("the sessions are ended");
}

#[tokio::test]
async fn a_guard_whose_session_was_ended_keeps_its_key_until_its_client_has_given_it_up() {
    let server = crate::server().await;
    let proxy = Proxy::to(server.address()).await.expect("a port");
    let unaware = LockingModule::with_provider(quick(&server.url_at(proxy.address())).await);
    let other = module(&server).await;
    let guard = unaware.lock("k").lease(LONG).await.expect("free");

    // The server ends the session; the client hears nothing.
    proxy.inject(Fault::Hold { direction: Direction::ToClient });
    end_sessions(&server).await;
    let (ended, next) = (Instant::now(), other.lock("k").timeout(LONG).await.expect("taken over"));
    assert!(guard.check().is_err(), "it was given up before");
    assert!(next.token() > guard.token());
    assert!(ended.elapsed() < ms(3000) + SOON, "{:?}", ended.elapsed());
}

#[tokio::test]
async fn a_client_that_knows_of_its_sessions_end_has_its_guards_freed_at_once() {
    let server = crate::server().await;
    let (client, other) = (module(&server).await, module(&server).await);
    let guard = client.lock("k").lease(LONG).await.expect("free");
    end_sessions(&server).await;
    timeout(SOON, guard.lost()).await.expect("it hears of it");
    let next = other.lock("k").timeout(SOON * 2).await;
    drop(next.expect("its client has said that it is over"));
}

#[tokio::test]
async fn the_end_of_a_session_is_known_at_once() {
    let server = crate::server().await;
    let (module, foreign) = (module(&server).await, crate::foreign(&server).await);
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%locking session'";
    let mut took = Vec::new();
    for _ in 0..5 {
        let guard = module.lock("k").lease(LONG).timeout(LONG).await.expect("free");
        let ended = Instant::now();
        foreign.batch_execute(end).await.expect("ended");
        timeout(SOON, guard.lost()).await.expect("it hears of it");
        took.push(ended.elapsed());
    }
    // From before the server was asked; the machine may stand still now and then.
    took.sort_unstable();
    assert!(took[2] < ms(50), "{took:?}");
}

#[tokio::test]
async fn a_guard_that_is_freed_by_force_learns_it_at_once() {
    let server = crate::server().await;
    let (module, other) = (module(&server).await, module(&server).await);
    let mut took = Vec::new();
    for _ in 0..5 {
        // Its next renewal is 10 s away.
        let guard = module.lock("k").lease(LONG).timeout(LONG).await.expect("free");
        let asked = Instant::now();
        assert_eq!(other.release_all().including_running().await.expect("answered"), 1);
        let reason = timeout(SOON, guard.lost()).await.expect("it hears of it");
        took.push(asked.elapsed());
        assert_eq!(reason, LossReason::Revoked);
    }
    took.sort_unstable();
    assert!(took[2] < ms(50), "{took:?}");
}

#[tokio::test]
async fn what_is_written_of_sessions_that_ended_goes() {
    let server = crate::server().await;
    let sessions = "SELECT count(*) FROM locking.locking_session";
    let stays = quick(&server.url()).await;
    // As those of processes that were killed.
    let join = "SELECT locking.locking_join(1500, 0)";
    for _ in 0..5 {
        crate::foreign(&server).await.batch_execute(join).await.expect("joined");
    }
    assert_eq!(crate::number(&server, sessions).await, 6);
    let give_up = Instant::now() + LONG;
    while crate::number(&server, sessions).await > 1 {
        assert!(Instant::now() < give_up, "rows of sessions are left");
        tokio::time::sleep(ms(50)).await;
    }
    drop(stays);
}

#[tokio::test]
async fn a_client_that_is_closed_leaves_no_guard_held() {
    let server = crate::server().await;
    let (client, other) = (crate::client(&server).await, module(&server).await);
    let guard = LockingModule::with_provider(client.clone()).lock("k").lease(LONG).await;
    // Nobody gives it back.
    std::mem::forget(guard.expect("free"));
    client.close().await.expect("closed");
    let next = other.lock("k").timeout(SOON).await;
    drop(next.expect("the client has said that it is over"));
}
