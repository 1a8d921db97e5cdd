//! Grants that arrive late, and grants that hang on a session.

mod support;

use std::time::Duration;

use locking_core::{Error, LockingModule, LossReason, Moment, Session};
use support::fault::Fault;
use support::{FakeStore, seconds};
use tokio::time::{Instant, sleep, timeout};

const LEASE: Duration = Duration::from_secs(30);
const TERM: Duration = Duration::from_millis(400);

/// A module whose guards hang on a session that lives for ten seconds.
fn on_a_session() -> (FakeStore, LockingModule, Session) {
    let (store, module) = FakeStore::with_module();
    let session = Session::new(Moment::now().saturating_add(seconds(10)));
    store.carry_guards_on(session.clone());
    (store, module, session)
}

fn reason(error: &Error) -> LossReason {
    match error {
        Error::Lost { reason, .. } => *reason,
        other => panic!("expected a loss, not {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_comes_soon_needs_no_confirmation() {
    let (store, module) = FakeStore::with_module();
    store.attempts.next(1, Fault::Slow(LEASE / 3));
    let lock = module.lock("a").lease(LEASE).timeout(LEASE * 2);
    let guard = lock.await.expect("granted");
    assert_eq!(store.extends.count(), 0);
    assert!(guard.expires_in() <= LEASE * 2 / 3, "it is counted from before the request");
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_took_more_than_half_its_lease_is_confirmed_first() {
    let (store, module) = FakeStore::with_module();
    store.attempts.next(1, Fault::Slow(LEASE * 2 / 3));
    let lock = module.lock("a").lease(LEASE).timeout(LEASE * 2);
    let guard = lock.await.expect("granted");
    assert_eq!((store.attempts.count(), store.extends.count()), (1, 1));
    assert!(guard.expires_in() > LEASE - seconds(1), "it has its whole lease before it");
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_was_stale_when_it_came_is_asked_for_again() {
    let (store, module) = FakeStore::with_module();
    store.attempts.next(1, Fault::Slow(LEASE + seconds(10)));
    let lock = module.lock("a").lease(LEASE).timeout(LEASE * 3);
    let guard = lock.await.expect("granted the second time");
    assert_eq!(store.attempts.count(), 2);
    guard.check().expect("held");
    assert_eq!(store.token("a"), Some(guard.token()));
}

#[tokio::test(start_paused = true)]
async fn a_grant_whose_confirmation_comes_too_late_is_asked_for_again() {
    let (store, module) = FakeStore::with_module();
    store.attempts.next(1, Fault::Slow(LEASE - Duration::from_millis(1)));
    store.extends.next(1, Fault::Slow(LEASE / 2));
    let lock = module.lock("a").lease(LEASE).timeout(LEASE * 3);
    let guard = lock.await.expect("granted");
    guard.check().expect("nobody is given a guard that is lost already");
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_is_shorter_than_its_lease_is_extended_soon_where_its_guard_lives_that_long() {
    let (store, module) = FakeStore::with_module();
    store.grant_for(TERM);
    let guard = module.lock("a").lease(LEASE).await.expect("granted");
    assert!(guard.expires_in() <= TERM, "it is believed in for its term");
    sleep(Duration::from_millis(8)).await;
    assert_eq!(store.extends.count(), 0, "the shortest are given back by then");
    sleep(Duration::from_millis(4)).await;
    assert_eq!(store.extends.count(), 1);
    // The machine stands still.
    tokio::time::advance(LEASE / 2).await;
    guard.check().expect("it has its lease");
    guard.release().await.expect("held to the end");
}

#[tokio::test(start_paused = true)]
async fn a_short_grant_is_extended_again_where_the_first_time_fails() {
    for fault in [Fault::Hang, Fault::Unavailable, Fault::Panic] {
        let (store, module) = FakeStore::with_module();
        store.grant_for(TERM);
        store.extends.next(1, fault);
        let guard = module.lock("a").lease(LEASE * 10).await.expect("granted");
        sleep(TERM * 2).await;
        assert_eq!(store.extends.count(), 2, "after {fault:?}");
        guard.release().await.expect("held to the end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_grant_that_comes_late_is_extended_once() {
    let (store, module) = FakeStore::with_module();
    store.grant_for(TERM);
    store.attempts.next(1, Fault::Slow(TERM * 2 / 3));
    store.extends.next(1, Fault::Slow(TERM / 10));
    let guard = module.lock("a").lease(LEASE).timeout(LEASE).await.expect("granted");
    sleep(TERM).await;
    assert_eq!(store.extends.count(), 1);
    guard.release().await.expect("held to the end");
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_that_fails_leaves_open_what_is_held_and_gives_the_grant_back() {
    let (store, module) = FakeStore::with_module();
    store.attempts.next(1, Fault::Slow(LEASE * 2 / 3));
    store.extends.next(1, Fault::Unavailable);
    let lock = module.lock("a").lease(LEASE).timeout(LEASE * 2);
    let error = lock.await.expect_err("it can't be believed in");
    assert!(matches!(error, Error::UnknownOutcome { .. }), "{error:?}");
    store.freed("a").await;
}

#[tokio::test(start_paused = true)]
async fn a_guard_on_a_session_is_renewed_like_others_while_its_heartbeats_are_answered() {
    let (store, module, session) = on_a_session();
    let guard = module.lock("a").timeout(Duration::ZERO).await.expect("the key is free");
    for _ in 0..100 {
        sleep(seconds(5)).await;
        session.prolong(Moment::now().saturating_add(seconds(10)));
        guard.check().expect("the session is alive");
    }
    assert!(store.extends.count() >= 40, "{}", store.extends.count());
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_an_earlier_heartbeat_never_shortens_a_session() {
    let (_store, module, session) = on_a_session();
    let earlier = Moment::now().saturating_add(seconds(5));
    session.prolong(Moment::now().saturating_add(seconds(20)));
    session.prolong(earlier);
    let guard = module.lock("a").await.expect("the key is free");
    sleep(seconds(19)).await;
    guard.check().expect("the session is alive");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_loss_is_not_woken_by_a_deadline_that_was_moved() {
    let (_store, module, session) = on_a_session();
    let guard = module.lock("a").await.expect("the key is free");
    let begun = Instant::now();
    let heart = tokio::spawn(async move {
        for _ in 0..10 {
            sleep(seconds(5)).await;
            session.prolong(Moment::now().saturating_add(seconds(10)));
        }
    });
    assert_eq!(guard.lost().await, LossReason::SessionEnded);
    assert!(begun.elapsed() >= seconds(60), "{:?}", begun.elapsed());
    heart.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_session_loses_all_its_guards_at_once() {
    let (_store, module, session) = on_a_session();
    let one = module.lock("a").await.expect("the key is free");
    let two = module.lock(["b", "c"]).await.expect("the keys are free");
    let begun = Instant::now();
    session.end();
    assert_eq!(reason(&one.check().expect_err("lost")), LossReason::SessionEnded);
    assert_eq!(reason(&two.check().expect_err("lost")), LossReason::SessionEnded);
    assert_eq!(two.context().lost().await, LossReason::SessionEnded);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_session_wakes_whoever_waits_for_a_loss() {
    let (_store, module, session) = on_a_session();
    let guard = module.lock("a").await.expect("the key is free");
    let context = guard.context();
    let waiting = tokio::spawn(async move { context.lost().await });
    timeout(seconds(1), guard.lost()).await.expect_err("alive");
    session.end();
    let told = timeout(Duration::from_millis(50), waiting).await.expect("at once");
    assert_eq!(told.expect("no panic"), LossReason::SessionEnded);
}

#[tokio::test(start_paused = true)]
async fn a_session_without_heartbeats_loses_its_guards_at_its_deadline() {
    let (store, module, session) = on_a_session();
    let guard = module.lock("a").await.expect("the key is free");
    assert_eq!(guard.lost().await, LossReason::SessionEnded);
    session.prolong(Moment::now().saturating_add(seconds(10)));
    let error = guard.check().expect_err("a loss is final");
    assert_eq!(reason(&error), LossReason::SessionEnded);
    assert!(store.is_held("a"), "the server has not ended the session yet");
}

#[tokio::test(start_paused = true)]
async fn a_guard_on_a_session_is_given_back_as_any_other() {
    let (store, module, _session) = on_a_session();
    module.lock("a").await.expect("free").release().await.expect("held");
    assert!(!store.is_held("a"));
    drop(module.lock("a").await.expect("free again"));
    store.freed("a").await;
}
