//! What whoever looks after a program is told of its locks' trouble: which lock it is about, and why.

mod support;

use std::time::Duration;

use locking_core::{Error, Lease, LockContext, LossReason, Moment, Session};
use support::capture::{Capture, Entry};
use support::fault::Fault;
use support::{FakeStore, eventually, seconds};
use tracing::Level;

/// What a store that was told to fail is told to have failed for.
const CAUSES: &str = "locking provider `fake` is unavailable: told to fail";

fn assert_tells_why(event: &Entry) {
    assert_eq!(event.field("error"), CAUSES, "{event:?}");
}

fn assert_tells_the_lock(event: &Entry, lease: &Lease) {
    assert_eq!(event.field("provider"), "fake", "{event:?}");
    assert_eq!(event.field("keys"), format!("[{:?}]", lease.keys()[0].key), "{event:?}");
    let owner = lease.owner.as_ref().expect("guards have an owner");
    assert_eq!(event.field("owner"), owner.as_str(), "{event:?}");
    assert_eq!(event.field("token"), lease.token().to_string(), "{event:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_lost_while_in_use_is_warned_of_once() {
    let (store, module) = FakeStore::with_module();
    let capture = Capture::start();
    let guard = module.lock("prod_123").await.expect("free");
    store.forget("prod_123");
    guard.lost().await;
    eventually(|| !capture.events(Level::WARN, "lost").is_empty()).await;
    tokio::time::sleep(seconds(120)).await;
    let warnings = capture.events(Level::WARN, "lost");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_tells_the_lock(&warnings[0], guard.lease());
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_lost_at_its_deadline_is_warned_of_and_each_renewal_tells_why_it_failed() {
    let (store, module) = FakeStore::with_module();
    let capture = Capture::start();
    let guard = module.lock("prod_123").await.expect("free");
    store.extends.all(Fault::Unavailable);
    guard.lost().await;
    let failed = capture.events(Level::DEBUG, "renewal failed");
    assert!(failed.len() > 1, "{failed:?}");
    for failed in &failed {
        assert_tells_the_lock(failed, guard.lease());
        assert_tells_why(failed);
    }
    eventually(|| !capture.events(Level::WARN, "lost").is_empty()).await;
    assert_tells_the_lock(&capture.events(Level::WARN, "lost")[0], guard.lease());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_nobody_answers_tells_so() {
    let (store, module) = FakeStore::with_module();
    let capture = Capture::start();
    let guard = module.lock("prod_123").await.expect("free");
    store.extends.next(1, Fault::Hang);
    tokio::time::sleep(seconds(60)).await;
    let unanswered = capture.events(Level::DEBUG, "renewal unanswered");
    assert_eq!(unanswered.len(), 1, "{unanswered:?}");
    assert_tells_the_lock(&unanswered[0], guard.lease());
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_lock_could_not_be_given_back_yet_is_warned_of_with_the_lock_and_the_cause() {
    let (store, module) = FakeStore::with_module();
    let capture = Capture::start();
    store.releases.next(2, Fault::Unavailable);
    let job = async |lock: LockContext| lock.lease().clone();
    let lease = module.execute("prod_123", job).await.expect("the job is done");
    let warnings = capture.events(Level::WARN, "");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].field("message").starts_with("the job is done"), "{warnings:?}");
    // It is tried again in the background.
    store.freed("prod_123").await;
    let again = capture.events(Level::DEBUG, "release failed, trying again");
    assert_eq!(again.len(), 1, "{again:?}");
    for told in [&warnings[0], &again[0]] {
        assert_tells_the_lock(told, &lease);
        assert_tells_why(told);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_ends_by_its_expiry_is_warned_of_with_the_cause() {
    let (store, module) = FakeStore::with_module();
    let capture = Capture::start();
    let guard = module.lock("prod_123").await.expect("free");
    let lease = guard.lease().clone();
    store.releases.all(Fault::Unavailable);
    drop(guard);
    tokio::time::sleep(seconds(60)).await;
    let warnings = capture.events(Level::WARN, "the lease ends by its expiry");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_tells_the_lock(&warnings[0], &lease);
    assert_tells_why(&warnings[0]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_lock_that_could_not_be_given_back_is_warned_of_with_the_lock_and_the_cause() {
    for (fault, why) in [
        (Fault::Unavailable, CAUSES),
        (Fault::Hang, "no answer"),
        (Fault::Panic, "panicked with message \"told to panic\""),
    ] {
        let (store, module) = FakeStore::with_module();
        let capture = Capture::start();
        let guard = module.lock("prod_123").await.expect("free");
        store.releases.all(fault);
        assert_eq!(module.close(Duration::ZERO).await.expect("closed"), 1);
        let warnings = capture.events(Level::WARN, "a broken lock");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_tells_the_lock(&warnings[0], guard.lease());
        assert!(warnings[0].field("error").contains(why), "{warnings:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_is_given_back_in_good_order_warns_of_nothing() {
    let (_store, module) = FakeStore::with_module();
    let capture = Capture::start();
    module.lock("a").await.expect("free").release().await.expect("held");
    drop(module.lock("a").await.expect("free"));
    tokio::time::sleep(seconds(120)).await;
    module.close(Duration::ZERO).await.expect("closed");
    assert!(capture.events(Level::WARN, "").is_empty(), "{}", capture.everything());
}

#[tokio::test(start_paused = true)]
async fn a_loss_that_ends_a_job_or_its_guard_at_once_is_warned_of_too() {
    let (store, module) = FakeStore::with_module();
    let session = Session::new(Moment::now().saturating_add(seconds(3600)));
    store.carry_guards_on(session.clone());
    let capture = Capture::start();
    let guard = module.lock("prod_1").await.expect("free");
    let job = module.execute("prod_2", |_| {
        session.end();
        std::future::pending::<()>()
    });
    job.await.expect_err("its session has ended");
    let lease = guard.lease().clone();
    drop(guard);
    let warnings = capture.events(Level::WARN, "lost");
    let told: Vec<_> =
        warnings.iter().map(|told| (told.field("keys"), told.field("reason"))).collect();
    let reason = LossReason::SessionEnded.to_string();
    assert_eq!(told, [("[\"prod_2\"]", &*reason), ("[\"prod_1\"]", &*reason)]);
    assert_tells_the_lock(&warnings[1], &lease);
    for given_back in capture.events(Level::DEBUG, "lock given back") {
        assert_eq!(given_back.field("lost"), reason, "{given_back:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_its_release_finds_lost_is_warned_of_and_one_that_was_held_is_not() {
    let (store, module) = FakeStore::with_module();
    let capture = Capture::start();
    module.lock("prod_1").await.expect("free").release().await.expect("held");
    module.execute("prod_2", |_| async {}).await.expect("held");
    drop(module.lock("prod_3").await.expect("free"));
    assert_eq!(capture.events(Level::WARN, "lost").len(), 0);
    let guard = module.lock("prod_4").await.expect("free");
    store.forget("prod_4");
    guard.release().await.expect_err("the store has forgotten it");
    assert_eq!(capture.events(Level::WARN, "lost").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_is_released_after_its_loss_is_warned_of_with_the_reason_of_that() {
    let (store, module) = FakeStore::with_module();
    let session = Session::new(Moment::now().saturating_add(seconds(3600)));
    store.carry_guards_on(session.clone());
    let capture = Capture::start();
    let guard = module.lock("prod_123").await.expect("free");
    let context = guard.context();
    session.end();
    guard.release().await.expect_err("its session has ended");
    let warnings = capture.events(Level::WARN, "lost");
    let reasons: Vec<_> = warnings.iter().map(|told| told.field("reason")).collect();
    assert_eq!(reasons, [LossReason::SessionEnded.to_string()]);
    assert!(matches!(context.check(), Err(Error::Lost { reason: LossReason::SessionEnded, .. })));
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_a_close_broke_is_not_warned_of_when_it_is_released_later() {
    let (_store, module) = FakeStore::with_module();
    let capture = Capture::start();
    let (released, dropped) = (module.lock("a").await, module.lock("b").await);
    assert_eq!(module.close(Duration::ZERO).await.expect("closed"), 2);
    released.expect("free").release().await.expect_err("broken");
    drop(dropped.expect("free"));
    assert_eq!(capture.events(Level::WARN, "a lock is lost").len(), 0);
}

#[tokio::test]
async fn a_guard_that_is_dropped_after_its_deadline_is_warned_of_though_no_renewal_looked() {
    let (_store, module) = FakeStore::with_module();
    let capture = Capture::start();
    let lease = Duration::from_millis(50);
    let guard = module.lock("prod_123").lease(lease).await.expect("free");
    // On the only thread.
    std::thread::sleep(2 * lease);
    drop(guard);
    assert_eq!(capture.events(Level::WARN, "lost").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_was_lost_before_a_close_broke_it_is_warned_of_all_the_same() {
    let (store, module) = FakeStore::with_module();
    let session = Session::new(Moment::now().saturating_add(seconds(3600)));
    store.carry_guards_on(session.clone());
    let capture = Capture::start();
    let guard = module.lock("prod_123").await.expect("free");
    session.end();
    module.close(Duration::ZERO).await.expect("closed");
    let lost = guard.check().expect_err("its session has ended");
    assert!(matches!(lost, Error::Lost { reason: LossReason::SessionEnded, .. }), "{lost:?}");
    drop(guard);
    assert_eq!(capture.events(Level::WARN, "a lock is lost").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_had_is_not_warned_of_and_one_that_is_lost_later_is() {
    let (store, module) = FakeStore::with_module();
    let session = Session::new(Moment::now().saturating_add(seconds(3600)));
    store.carry_guards_on(session.clone());
    let lease = seconds(30);
    let lock = || module.lock("prod_123").lease(lease).timeout(lease * 3);
    let capture = Capture::start();
    let warned = || capture.events(Level::WARN, "a lock is lost").len();
    // Over before it came, and asked for again.
    store.attempts.next(1, Fault::Slow(lease + seconds(10)));
    drop(lock().await.expect("granted the second time"));
    assert_eq!(warned(), 0, "{}", capture.everything());
    // Confirmed in time.
    store.attempts.next(1, Fault::Slow(lease * 3 / 4));
    let guard = lock().await.expect("granted");
    session.end();
    drop(guard);
    assert_eq!(warned(), 1, "{}", capture.everything());
}
