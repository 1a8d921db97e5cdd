//! Waiting by polling, for stores without waiting of their own.

mod support;

use std::time::Duration;

use locking_core::{
    AcquireRequest, Backoff, Error, Grant, LockingProvider, Result, WaitUntil, acquire_by_polling,
};
use support::fault::Fault;
use support::{FakeStore, eventually, request, seconds};
use tokio::time::Instant;

/// How late a refusal may be.
const SLACK: Duration = Duration::from_millis(50);

async fn poll(store: &FakeStore, request: AcquireRequest) -> Result<Grant> {
    acquire_by_polling(store, request, Backoff::default()).await
}

async fn hold(store: &FakeStore, key: &str) -> Grant {
    poll(store, request([key], WaitUntil::Now)).await.expect("the key is free")
}

fn within(wait: Duration) -> WaitUntil {
    WaitUntil::Deadline(Instant::now() + wait)
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_wait_is_refused_at_once_with_held() {
    let store = FakeStore::new();
    hold(&store, "a").await;
    let begun = Instant::now();
    let refused = poll(&store, request(["a"], WaitUntil::Now)).await.expect_err("held");
    assert!(matches!(refused, Error::Held { .. }), "{refused:?}");
    assert_eq!(refused.to_string(), "failed to acquire lock for key \"a\"");
    assert_eq!((begun.elapsed(), store.attempts.count()), (Duration::ZERO, 2));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_times_out_at_its_deadline() {
    let store = FakeStore::new();
    hold(&store, "a").await;
    let begun = Instant::now();
    let refused = poll(&store, request(["a"], within(seconds(2)))).await.expect_err("held");
    let took = begun.elapsed();
    assert!(matches!(refused, Error::TimedOut { .. }), "{refused:?}");
    assert_eq!(refused.to_string(), "timed out acquiring lock for key \"a\"");
    assert!(took >= seconds(2) && took <= seconds(2) + SLACK, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_first_blocking_key_in_byte_order_is_named() {
    let store = FakeStore::new();
    hold(&store, "b").await;
    hold(&store, "c").await;
    let refused = poll(&store, request(["c", "a", "b"], WaitUntil::Now)).await.expect_err("held");
    assert_eq!(refused.key().expect("a key").as_str(), "b");
    assert!(!store.is_held("a"), "nothing is taken where not all can be");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_becomes_free_is_granted_within_a_second() {
    let store = FakeStore::new();
    let held = hold(&store, "a").await;
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { poll(&store, request(["a"], within(seconds(60)))).await })
    };
    tokio::time::sleep(seconds(30)).await;
    store.release_lease(&held.lease).await.expect("it is held");
    let freed = Instant::now();
    let granted = waiting.await.expect("no panic").expect("granted");
    assert!(freed.elapsed() < seconds(1), "{:?}", freed.elapsed());
    assert!(granted.lease.token() > held.lease.token());
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_limit_waits_as_long_as_it_takes() {
    let store = FakeStore::new();
    let held = hold(&store, "a").await;
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { poll(&store, request(["a"], WaitUntil::Forever)).await })
    };
    tokio::time::sleep(seconds(600)).await;
    assert!(!waiting.is_finished());
    store.release_lease(&held.lease).await.expect("it is held");
    waiting.await.expect("no panic").expect("granted");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_goes_on_while_the_store_is_unavailable() {
    let store = FakeStore::new();
    store.attempts.next(10, Fault::Unavailable);
    poll(&store, request(["a"], within(seconds(10)))).await.expect("granted after all");
    assert_eq!(store.attempts.count(), 11);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_unavailable_is_told_at_the_deadline() {
    let store = FakeStore::new();
    store.attempts.all(Fault::Unavailable);
    let begun = Instant::now();
    let refused = poll(&store, request(["a"], within(seconds(2)))).await.expect_err("no store");
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
    assert!(begun.elapsed() >= seconds(2) && begun.elapsed() <= seconds(2) + SLACK);
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_store_is_told_at_once_to_a_request_that_does_not_wait() {
    let store = FakeStore::new();
    store.attempts.all(Fault::Unavailable);
    let refused = poll(&store, request(["a"], WaitUntil::Now)).await.expect_err("no store");
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
    assert_eq!(store.attempts.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_has_answered_by_the_deadline() {
    for took in [20, 40, 49].map(Duration::from_millis) {
        let store = FakeStore::new();
        hold(&store, "a").await;
        store.attempts.all(Fault::Slow(took));
        let begun = Instant::now();
        let refused = poll(&store, request(["a"], within(seconds(2)))).await.expect_err("held");
        assert!(matches!(refused, Error::TimedOut { .. }), "{took:?}: {refused:?}");
        assert!(begun.elapsed() >= seconds(2) && begun.elapsed() <= seconds(2) + SLACK);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stall_of_the_store_does_not_end_the_attempts_early() {
    let store = FakeStore::new();
    let held = hold(&store, "a").await;
    store.attempts.next(1, Fault::Slow(seconds(2)));
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { poll(&store, request(["a"], within(seconds(5)))).await })
    };
    tokio::time::sleep(seconds(4)).await;
    store.release_lease(&held.lease).await.expect("it is held");
    waiting.await.expect("no panic").expect("granted");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_becomes_free_shortly_before_the_deadline_is_granted() {
    let store = FakeStore::new();
    let held = hold(&store, "a").await;
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { poll(&store, request(["a"], within(seconds(2)))).await })
    };
    tokio::time::sleep(Duration::from_millis(1_970)).await;
    store.release_lease(&held.lease).await.expect("it is held");
    waiting.await.expect("no panic").expect("granted");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_without_an_answer_is_an_unknown_outcome_at_the_deadline() {
    let store = FakeStore::new();
    store.attempts.next(1, Fault::Hang);
    let begun = Instant::now();
    let refused = poll(&store, request(["a"], within(seconds(2)))).await.expect_err("no answer");
    assert!(matches!(refused, Error::UnknownOutcome { .. }), "{refused:?}");
    assert!(begun.elapsed() >= seconds(2) && begun.elapsed() <= seconds(2) + SLACK);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_succeeds_after_the_deadline_is_given_back() {
    let store = FakeStore::new();
    store.attempts.next(1, Fault::Slow(seconds(5)));
    let refused = poll(&store, request(["a"], within(seconds(2)))).await.expect_err("too late");
    assert!(matches!(refused, Error::UnknownOutcome { .. }), "{refused:?}");
    assert!(store.is_held("a"), "the attempt took it and has not answered yet");
    let begun = Instant::now();
    store.freed("a").await;
    assert!(begun.elapsed() < seconds(4), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_of_a_dropped_waiter_that_succeeds_afterwards_is_given_back() {
    let store = FakeStore::new();
    store.attempts.next(1, Fault::Slow(seconds(3)));
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { poll(&store, request(["a"], WaitUntil::Forever)).await })
    };
    eventually(|| store.is_held("a")).await;
    waiting.abort();
    assert!(waiting.await.expect_err("aborted").is_cancelled());
    let took = store.freed("a").await;
    assert!(took < seconds(4), "{took:?}");
    assert_eq!(store.releases.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_dropped_waiter_took_is_given_back_also_by_a_store_that_recovers() {
    let store = FakeStore::new();
    store.attempts.next(1, Fault::Slow(seconds(1)));
    store.releases.next(5, Fault::Unavailable);
    let waiting = poll(&store, request(["a"], WaitUntil::Forever));
    tokio::time::timeout(Duration::from_millis(100), waiting).await.expect_err("too slow");
    assert!(store.is_held("a"));
    store.freed("a").await;
    assert_eq!(store.releases.count(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_waiter_asks_no_more() {
    let store = FakeStore::new();
    hold(&store, "a").await;
    let waiting = poll(&store, request(["a"], WaitUntil::Forever));
    tokio::time::timeout(seconds(5), waiting).await.expect_err("still held");
    // An attempt that began in the same instant runs to its end.
    tokio::time::sleep(seconds(1)).await;
    let asked = store.attempts.count();
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(store.attempts.count(), asked);
}

#[tokio::test(start_paused = true)]
async fn what_a_dropped_request_took_without_an_end_is_given_back_after_a_long_outage() {
    let store = FakeStore::new();
    store.attempts.next(1, Fault::Slow(seconds(1)));
    store.releases.all(Fault::Unavailable);
    let taking = tokio::spawn({
        let (store, request) = (store.clone(), request(["a"], within(seconds(60))));
        async move { poll(&store, request).await }
    });
    tokio::time::sleep(seconds(1) / 2).await;
    taking.abort();
    tokio::time::sleep(seconds(3600)).await;
    assert!(store.is_held("a"), "the store can't be reached");
    store.releases.recover();
    store.freed("a").await;
}
