//! Guards are kept alive, and know when they are not.

mod support;

use std::time::Duration;

use locking_core::{Error, LockGuard, LockingModule, LossReason};
use support::fault::Fault;
use support::{FakeStore, seconds};
use tokio::time::{Instant, sleep, timeout};

const LEASE: Duration = Duration::from_secs(30);

async fn guard(module: &LockingModule, key: &str) -> LockGuard {
    module.lock(key).lease(LEASE).await.expect("the key is free")
}

fn assert_lost(error: &Error, lost_key: &str) {
    match error {
        Error::Lost { key, reason: LossReason::Expired, .. } => assert_eq!(key.as_str(), lost_key),
        other => panic!("expected a loss, not {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_is_renewed_at_a_third_of_its_lease_however_long_the_work_takes() {
    let (store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    sleep(seconds(3600) + seconds(1)).await;
    guard.check().expect("still held");
    assert_eq!(store.token("a"), Some(guard.token()));
    let renewals = store.extends.count();
    assert!((355..=360).contains(&renewals), "{renewals} renewals in an hour of thirds of 30 s");
}

#[tokio::test(start_paused = true)]
async fn every_guard_of_a_module_is_renewed_by_its_own_lease() {
    let (store, module) = FakeStore::with_module();
    let keys: Vec<_> = (1..=50).map(|n| format!("key {n}")).collect();
    let mut guards = Vec::new();
    for (n, key) in (1..).zip(&keys) {
        guards.push(module.lock(key).lease(seconds(n)).await.expect("the key is free"));
    }
    sleep(seconds(300)).await;
    for (key, guard) in keys.iter().zip(&guards) {
        guard.check().expect("still held");
        assert_eq!(store.token(key), Some(guard.token()));
    }
}

#[tokio::test(start_paused = true)]
async fn one_failed_renewal_is_no_loss() {
    let (store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    store.extends.next(1, Fault::Unavailable);
    sleep(seconds(60)).await;
    guard.check().expect("still held");
    assert!(store.is_held("a"));
}

#[tokio::test(start_paused = true)]
async fn one_renewal_whose_answer_got_lost_is_no_loss() {
    let (store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    store.extends.next(1, Fault::Hang);
    sleep(seconds(60)).await;
    guard.check().expect("it was tried again");
    assert!(store.is_held("a"));
}

#[tokio::test(start_paused = true)]
async fn one_renewal_that_panicked_is_no_loss() {
    let (store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    store.extends.next(1, Fault::Panic);
    sleep(seconds(60)).await;
    guard.check().expect("it was tried again");
    assert!(store.is_held("a"));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_back_before_the_local_deadline_costs_no_guard() {
    let (store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    store.extends.all(Fault::Unavailable);
    sleep(seconds(28)).await;
    assert!(store.extends.count() > 5, "it is tried again and again");
    guard.check().expect("its lease has not ended yet");
    store.extends.recover();
    sleep(seconds(60)).await;
    guard.check().expect("still held");
    assert!(store.is_held("a"));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_finds_the_hold_gone_tells_the_guard() {
    let (store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    store.forget("a");
    guard.check().expect("nobody has asked the store yet");
    let told = timeout(LEASE / 2, guard.lost()).await.expect("by the next renewal");
    assert_eq!(told, LossReason::Expired);
    assert_lost(&guard.check().expect_err("lost"), "a");
    assert_lost(&guard.context().check().expect_err("lost"), "a");
}

#[tokio::test(start_paused = true)]
async fn the_key_that_was_lost_is_the_one_that_is_named() {
    let (store, module) = FakeStore::with_module();
    let guard = module.lock(["a", "b", "c"]).lease(LEASE).await.expect("the keys are free");
    store.forget("b");
    guard.lost().await;
    assert_lost(&guard.check().expect_err("lost"), "b");
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_a_guard_is_lost_before_the_store_gives_its_key_away() {
    for silence in [Fault::Hang, Fault::Unavailable, Fault::Slow(seconds(60)), Fault::Panic] {
        let (store, module) = FakeStore::with_module();
        let begun = Instant::now();
        let guard = guard(&module, "a").await;
        store.extends.all(silence);
        assert_eq!(guard.lost().await, LossReason::Expired);
        let took = begun.elapsed();
        assert!(took < LEASE && took > LEASE - seconds(1), "{took:?} with {silence:?}");
        assert!(store.is_held("a"), "with {silence:?} nobody else can hold it yet");
        assert_lost(&guard.check().expect_err("lost"), "a");
        assert_eq!(guard.expires_in(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_final_also_when_the_store_comes_back() {
    let (store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    store.extends.all(Fault::Unavailable);
    guard.lost().await;
    store.extends.recover();
    sleep(LEASE).await;
    assert_lost(&guard.check().expect_err("lost"), "a");
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_is_released_by_force_knows_it_at_once() {
    let (_store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    assert_eq!(module.release_all().await.expect("it answers"), 0, "guards are left out");
    guard.check().expect("still held");
    assert_eq!(module.release_all().including_running().await.expect("it answers"), 1);
    let error = guard.check().expect_err("taken away");
    assert!(matches!(error, Error::Lost { reason: LossReason::Revoked, .. }), "{error:?}");
}

/// Waits for three leases and expects no renewal after what has been.
async fn assert_no_renewal(store: &FakeStore) {
    let renewals = store.extends.count();
    sleep(LEASE * 3).await;
    assert_eq!(store.extends.count(), renewals);
}

#[tokio::test(start_paused = true)]
async fn a_released_guard_is_renewed_no_more() {
    let (store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    sleep(LEASE).await;
    guard.release().await.expect("it was held");
    assert_no_renewal(&store).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_guard_is_renewed_no_more() {
    let (store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    sleep(LEASE).await;
    drop(guard);
    assert_no_renewal(&store).await;
}

#[tokio::test(start_paused = true)]
async fn a_guard_dropped_between_two_attempts_of_its_renewal_is_renewed_no_more() {
    let (store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    store.extends.all(Fault::Unavailable);
    sleep(LEASE / 2).await;
    drop(guard);
    assert_no_renewal(&store).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_guard_is_renewed_no_more() {
    let (store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    store.forget("a");
    guard.lost().await;
    assert_no_renewal(&store).await;
}

#[tokio::test(start_paused = true)]
async fn a_guard_lost_at_its_local_deadline_is_renewed_no_more() {
    let (store, module) = FakeStore::with_module();
    let guard = guard(&module, "a").await;
    store.extends.all(Fault::Unavailable);
    guard.lost().await;
    assert_no_renewal(&store).await;
}

#[tokio::test(start_paused = true)]
async fn other_guards_are_renewed_after_one_is_gone() {
    let (store, module) = FakeStore::with_module();
    let (gone, kept) = (guard(&module, "a").await, guard(&module, "b").await);
    drop(gone);
    sleep(LEASE * 3).await;
    kept.check().expect("still held");
    assert!(store.is_held("b") && !store.is_held("a"));
}

#[tokio::test(start_paused = true)]
async fn a_module_that_had_no_guard_for_long_renews_the_next_one() {
    let (store, module) = FakeStore::with_module();
    drop(guard(&module, "a").await);
    sleep(LEASE * 3).await;
    let next = guard(&module, "a").await;
    sleep(LEASE * 3).await;
    next.check().expect("still held");
    assert_eq!(store.token("a"), Some(next.token()));
}
