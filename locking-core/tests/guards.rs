//! Guards give their keys back, however they end.

mod support;

use std::time::Duration;

use locking_core::{Error, LockGuard, LockingModule, LossReason};
use support::fault::Fault;
use support::{FakeStore, eventually, seconds};
use tokio::time::{sleep, timeout};

const LEASE: Duration = Duration::from_secs(30);

async fn guard(module: &LockingModule, key: &str) -> LockGuard {
    module.lock(key).lease(LEASE).await.expect("the key is free")
}

#[tokio::test(start_paused = true)]
async fn a_guard_excludes_guards_and_leases_on_its_key() {
    let (_store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    let second = module.lock("a").timeout(Duration::ZERO).await.expect_err("held");
    assert!(matches!(second, Error::Held { .. }), "{second:?}");
    let lease = module.acquire("a").await.expect_err("held");
    assert!(matches!(lease, Error::Held { .. }), "{lease:?}");
    let owner = guard.lease().owner.clone().expect("guards have an owner");
    let same = module.acquire("a").owner(owner).await.expect_err("held");
    assert!(matches!(same, Error::Held { .. }), "{same:?}");
}

#[tokio::test(start_paused = true)]
async fn a_guard_waits_five_seconds_when_nothing_is_said() {
    let (_store, module) = FakeStore::with_module();
    let _held = guard(&module, "a").await;
    let begun = tokio::time::Instant::now();
    let second = module.lock("a").await.expect_err("held");
    assert!(matches!(second, Error::TimedOut { .. }), "{second:?}");
    let took = begun.elapsed();
    assert!(took >= seconds(5) && took <= seconds(5) + Duration::from_millis(50), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_guard_knows_the_token_of_each_key() {
    let (store, module) = FakeStore::with_module();
    let guard = module.lock(["b", "a"]).await.expect("the keys are free");
    assert_eq!(guard.token_of("a"), store.token("a"));
    assert_eq!(guard.token_of("b"), store.token("b"));
    assert_eq!(guard.token_of("c"), None);
    assert_eq!(Some(guard.token()), guard.token_of("a").max(guard.token_of("b")));
}

#[tokio::test(start_paused = true)]
async fn a_released_guard_frees_all_its_keys_before_the_call_returns() {
    let (store, module) = FakeStore::with_module();
    let guard = module.lock(["a", "b"]).await.expect("the keys are free");
    guard.release().await.expect("it was held to the end");
    assert!(!store.is_held("a") && !store.is_held("b"));
    assert_eq!(store.releases.count(), 1);
    sleep(seconds(60)).await;
    assert_eq!(store.releases.count(), 1, "it is released once");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_guard_frees_its_key_in_the_background() {
    let (store, module) = FakeStore::with_module();
    drop(guard(&module, "a").await);
    let took = store.freed("a").await;
    assert!(took < seconds(1), "{took:?}");
    assert_eq!(store.releases.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_release_of_a_dropped_guard_is_tried_again_while_the_store_is_unavailable() {
    let (store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    store.releases.all(Fault::Unavailable);
    drop(guard);
    eventually(|| store.releases.count() > 10).await;
    assert!(store.is_held("a"));
    store.releases.recover();
    let took = store.freed("a").await;
    assert!(took < seconds(1), "{took:?} after the store came back");
}

#[tokio::test(start_paused = true)]
async fn the_release_of_a_dropped_guard_is_given_up_when_its_lease_has_ended() {
    let (store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    store.releases.all(Fault::Unavailable);
    drop(guard);
    sleep(LEASE + seconds(1)).await;
    assert!(!store.is_held("a"), "the lease has ended by its expiry");
    let tries = store.releases.count();
    sleep(LEASE).await;
    assert_eq!(store.releases.count(), tries);
}

#[tokio::test(start_paused = true)]
async fn release_tells_that_the_lock_was_lost_at_the_store() {
    let (store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    store.forget("a");
    let error = guard.release().await.expect_err("it was not held any more");
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
    assert_eq!(error.key().expect("a key").as_str(), "a");
}

#[tokio::test(start_paused = true)]
async fn release_tells_that_the_lock_was_lost_at_its_local_deadline() {
    let (store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    store.extends.all(Fault::Unavailable);
    guard.lost().await;
    assert!(store.is_held("a"), "the store still has it");
    let error = guard.release().await.expect_err("others may have worked meanwhile");
    assert!(matches!(error, Error::Lost { reason: LossReason::Expired, .. }), "{error:?}");
    assert!(!store.is_held("a"), "what was left of it is given back");
}

#[tokio::test(start_paused = true)]
async fn a_late_release_never_frees_a_successor() {
    let (store, module) = FakeStore::with_module();
    let first = guard(&module, "a").await;
    store.forget("a");
    let second = guard(&module, "a").await;
    drop(first);
    eventually(|| store.releases.count() == 1).await;
    assert_eq!(store.token("a"), Some(second.token()));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_dropped_half_way_still_frees() {
    let (store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    store.releases.next(1, Fault::Hang);
    timeout(seconds(1), guard.release()).await.expect_err("the store hangs");
    assert!(store.is_held("a"));
    let took = store.freed("a").await;
    assert!(took < seconds(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_release_that_fails_says_so_and_goes_on_in_the_background() {
    let (store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    store.releases.next(3, Fault::Unavailable);
    let error = guard.release().await.expect_err("no store");
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    let took = store.freed("a").await;
    assert!(took < seconds(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_of_lock_that_is_dropped_leaves_nothing_taken() {
    let (store, module) = FakeStore::with_module();
    store.attempts.next(1, Fault::Slow(seconds(2)));
    timeout(seconds(1), module.lock("a")).await.expect_err("too slow");
    assert!(store.is_held("a"), "the attempt took it and has not answered yet");
    store.freed("a").await;
}

#[tokio::test(start_paused = true)]
async fn a_guard_outlives_its_module() {
    let (store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    drop(module);
    sleep(LEASE * 3).await;
    guard.check().expect("still renewed");
    drop(guard);
    store.freed("a").await;
}
