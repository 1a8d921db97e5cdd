//! Guards and the runtimes that they were made on. The clock is real here: a paused one belongs to
//! a single runtime.

mod support;

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use locking_core::{Error, LockGuard, LockingModule, LossReason};
use support::{FakeStore, eventually};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep, timeout};

/// Long enough for a machine that is busy, or stands still for a moment, to renew in time.
const LEASE: Duration = Duration::from_secs(2);

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime can be built")
}

async fn guard(module: &LockingModule, key: &str) -> LockGuard {
    module.lock(key).lease(LEASE).await.expect("the key is free")
}

/// Holds a guard for more than a lease, and expects it to be renewed.
async fn hold_for_long(store: &FakeStore, module: &LockingModule, key: &str) {
    let guard = guard(module, key).await;
    sleep(LEASE * 3 / 2).await;
    guard.check().expect("still held");
    assert_eq!(store.token(key), Some(guard.token()));
}

#[test]
fn a_guard_can_be_dropped_outside_any_runtime() {
    let (store, module) = FakeStore::with_module();
    let runtime = runtime();
    let guard = runtime.block_on(guard(&module, "a"));
    std::thread::spawn(move || drop(guard)).join().expect("no panic");
    runtime.block_on(store.freed("a"));
}

#[test]
fn a_guard_can_be_asked_outside_any_runtime() {
    let (_store, module) = FakeStore::with_module();
    let runtime = runtime();
    let guard = runtime.block_on(guard(&module, "a"));
    guard.check().expect("held");
    assert!(guard.expires_in() > Duration::ZERO);
    assert!(format!("{guard:?}").contains("\"a\""));
}

#[test]
fn a_guard_dropped_after_its_runtime_is_gone_ends_by_its_expiry() {
    let (store, module) = FakeStore::with_module();
    let gone = runtime();
    let guard = gone.block_on(guard(&module, "a"));
    drop(gone);
    drop(guard);
    assert!(store.is_held("a"), "nobody is left to give it back");
    runtime().block_on(store.freed("a"));
}

#[test]
fn a_guard_whose_runtime_is_gone_is_lost_at_its_local_deadline() {
    let (store, module) = FakeStore::with_module();
    let gone = runtime();
    let guard = gone.block_on(guard(&module, "a"));
    drop(gone);
    let reason = runtime().block_on(guard.lost());
    assert_eq!(reason, LossReason::Expired);
    assert_eq!(store.extends.count(), 0);
}

#[test]
fn a_module_renews_the_guards_of_each_runtime() {
    let (store, module) = FakeStore::with_module();
    std::thread::scope(|scope| {
        let held = ["a", "b"].map(|key| {
            let (store, module) = (&store, &module);
            scope.spawn(move || runtime().block_on(hold_for_long(store, module, key)))
        });
        for thread in held {
            thread.join().expect("held");
        }
    });
}

#[test]
fn a_module_outlives_the_runtime_that_renewed_its_guards() {
    let (store, module) = FakeStore::with_module();
    let gone = runtime();
    let left_behind = gone.block_on(guard(&module, "a"));
    drop(gone);
    runtime().block_on(hold_for_long(&store, &module, "b"));
    drop(left_behind);
    runtime().block_on(hold_for_long(&store, &module, "c"));
}

#[test]
fn a_guard_can_move_to_another_runtime_while_its_own_renews_it() {
    let (store, module) = FakeStore::with_module();
    let (own, other) = (runtime(), runtime());
    let guard = own.block_on(guard(&module, "a"));
    other.block_on(async {
        eventually(|| store.extends.count() > 3).await;
        guard.check().expect("still held");
        guard.release().await.expect("held to the end");
    });
    assert!(!store.is_held("a"));
}

#[test]
fn a_job_that_moved_away_from_a_runtime_that_stands_still_is_cancelled_at_its_local_deadline() {
    let (store, module) = FakeStore::with_module();
    let still = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let lease = LEASE * 3 / 2;
    let mut call = pin!(module.execute("a", |_| pending::<()>()).lease(lease).into_future());
    let begun = Instant::now();
    still.block_on(async { timeout(LEASE / 10, &mut call).await }).expect_err("the job goes on");
    // By way of another one: what waits there for the deadline stands still as well.
    let next = Builder::new_current_thread().enable_time().build().expect("a runtime");
    next.block_on(async { timeout(LEASE / 10, &mut call).await }).expect_err("the job goes on");
    let answer = runtime().block_on(async { timeout(lease * 2, call).await });
    let answer = answer.expect("it is told");
    let lost = answer.expect_err("nobody renews it");
    assert!(matches!(lost, Error::Lost { reason: LossReason::Expired, .. }), "{lost:?}");
    assert!(begun.elapsed() < lease + lease / 3, "{:?}", begun.elapsed());
    assert_eq!(store.extends.count(), 0);
}

#[test]
fn a_job_that_moved_to_another_runtime_keeps_its_lock_while_its_own_renews_it() {
    let (store, module) = FakeStore::with_module();
    let own = runtime();
    let (done, until) = tokio::sync::oneshot::channel::<()>();
    let mut call = pin!(module.execute("a", |_| until).lease(LEASE).into_future());
    own.block_on(async { timeout(LEASE / 10, &mut call).await }).expect_err("the job goes on");
    runtime().block_on(async {
        timeout(LEASE * 2, &mut call).await.expect_err("the job goes on");
        done.send(()).expect("the job waits");
        call.await.expect("held to the end").expect("it was told");
    });
    assert!(store.extends.count() > 3);
}

#[test]
fn a_module_closes_while_a_guard_of_a_runtime_that_is_gone_is_in_use() {
    let (store, module) = FakeStore::with_module();
    let gone = runtime();
    let guard = gone.block_on(guard(&module, "a"));
    drop(gone);
    let broken = runtime().block_on(module.close(Duration::ZERO)).expect("closed");
    assert_eq!(broken, 1);
    assert!(!store.is_held("a"));
    guard.check().expect_err("broken");
}
