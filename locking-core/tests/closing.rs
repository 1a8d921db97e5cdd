//! Draining a module.

mod support;

use std::pin::pin;
use std::time::Duration;

use locking_core::{Error, LockingModule, LossReason, Result, Wait};
use support::fault::Fault;
use support::{FakeStore, eventually, seconds};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

fn assert_closed<T>(answer: Result<T>) {
    match answer {
        Err(Error::Closed { provider, .. }) => assert_eq!(provider.as_str(), "fake"),
        Err(other) => panic!("expected closed, not {other:?}"),
        Ok(_) => panic!("a closed module grants nothing"),
    }
}

fn assert_broken<T>(answer: Result<T>) {
    match answer {
        Err(Error::Lost { reason: LossReason::Closed, .. }) => {}
        Err(other) => panic!("expected lost for the close, not {other:?}"),
        Ok(_) => panic!("expected lost for the close"),
    }
}

/// Closes it in the background, and returns when that has begun.
async fn closing(module: &LockingModule, within: Duration) -> JoinHandle<Result<usize>> {
    let module = module.clone();
    let closing = tokio::spawn(async move { module.close(within).await });
    tokio::task::yield_now().await;
    closing
}

#[tokio::test(start_paused = true)]
async fn a_closed_module_refuses_every_acquisition_without_asking_the_store() {
    let (store, module) = FakeStore::with_module();
    assert_eq!(module.close(seconds(1)).await.expect("closed"), 0);
    let asked = store.attempts.count();
    assert_closed(module.acquire("a").await);
    assert_closed(module.acquire("a").wait(Wait::Unlimited).await);
    assert_closed(module.lock("a").await);
    let mut ran = false;
    assert_closed(module.execute("a", |_| async { ran = true }).await);
    assert!(!ran);
    assert_eq!(store.attempts.count(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_module_refuses_while_it_waits_for_its_guards() {
    let (_store, module) = FakeStore::with_module();
    let guard = module.lock("a").await.expect("free");
    let closing = closing(&module, seconds(60)).await;
    assert_closed(module.lock("b").await);
    assert_closed(module.acquire("b").await);
    drop(guard);
    closing.await.expect("no panic").expect("closed");
}

#[tokio::test(start_paused = true)]
async fn close_wakes_every_waiter() {
    let (_store, module) = FakeStore::with_module();
    let _held = module.acquire("a").await.expect("free");
    let waiters = [
        tokio::spawn({
            let module = module.clone();
            async move { module.acquire("a").wait(Wait::Unlimited).await.map(drop) }
        }),
        tokio::spawn({
            let module = module.clone();
            async move { module.lock("a").timeout(seconds(3600)).await.map(drop) }
        }),
        tokio::spawn({
            let module = module.clone();
            async move { module.execute("a", |_| async {}).timeout(Wait::Unlimited).await }
        }),
    ];
    sleep(seconds(60)).await;
    let begun = Instant::now();
    assert_eq!(module.close(seconds(10)).await.expect("closed"), 0);
    for waiter in waiters {
        assert_closed(waiter.await.expect("no panic"));
    }
    assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_grant_on_its_way_when_the_module_closes_is_given_back() {
    let (store, module) = FakeStore::with_module();
    let guard = module.lock("b").await.expect("free");
    store.attempts.next(1, Fault::Slow(seconds(2)));
    let waiting = tokio::spawn({
        let module = module.clone();
        async move { module.lock("a").await }
    });
    eventually(|| store.is_held("a")).await;
    let closing = closing(&module, seconds(60)).await;
    assert_closed(waiting.await.expect("no panic"));
    store.freed("a").await;
    drop(guard);
    closing.await.expect("no panic").expect("closed");
}

#[tokio::test(start_paused = true)]
async fn an_acquisition_that_was_told_of_the_close_leaves_nothing_while_its_future_lives_on() {
    let (store, module) = FakeStore::with_module();
    let guard = module.lock("b").await.expect("free");
    store.attempts.next(1, Fault::Slow(seconds(2)));
    let mut asking = pin!(module.acquire("a").wait(seconds(60)).into_future());
    timeout(seconds(1), &mut asking).await.expect_err("the store hasn't answered yet");
    assert!(store.is_held("a"));
    let closing = closing(&module, seconds(60)).await;
    assert_closed((&mut asking).await);
    store.freed("a").await;
    drop(guard);
    closing.await.expect("no panic").expect("closed");
}

/// Its store has granted the key, and nobody has polled the call since.
async fn granted_unseen<T>(store: &FakeStore, mut call: impl Future<Output = T> + Unpin) {
    store.attempts.next(1, Fault::Slow(seconds(2)));
    timeout(seconds(1), &mut call).await.map(drop).expect_err("the store hasn't answered yet");
    sleep(seconds(2)).await;
    assert!(store.is_held("a"));
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_a_call_that_was_granted_and_has_not_seen_it() {
    let (store, module) = FakeStore::with_module();
    let mut call = pin!(module.lock("a").into_future());
    granted_unseen(&store, &mut call).await;
    let closing = closing(&module, seconds(60)).await;
    sleep(seconds(30)).await;
    assert!(!closing.is_finished() && store.closes.count() == 0);
    assert_closed(call.await);
    assert_eq!(closing.await.expect("no panic").expect("closed"), 0);
    assert!(!store.is_held("a"), "it was given back before the provider was closed");
}

#[tokio::test(start_paused = true)]
async fn close_waits_until_a_lease_that_was_granted_is_told() {
    let (store, module) = FakeStore::with_module();
    let mut call = pin!(module.acquire("a").wait(seconds(60)).into_future());
    granted_unseen(&store, &mut call).await;
    let closing = closing(&module, seconds(60)).await;
    sleep(seconds(30)).await;
    assert!(!closing.is_finished() && store.closes.count() == 0);
    let lease = (&mut call).await.expect("it was granted before the close");
    assert_eq!(closing.await.expect("no panic").expect("closed"), 0);
    assert_eq!(store.token("a"), Some(lease.token()), "leases stay");
}

#[tokio::test(start_paused = true)]
async fn close_waits_no_more_for_a_call_that_is_dropped() {
    let (store, module) = FakeStore::with_module();
    let mut call = Box::pin(module.lock("a").into_future());
    granted_unseen(&store, &mut call).await;
    let closing = closing(&module, seconds(60)).await;
    drop(call);
    let begun = Instant::now();
    closing.await.expect("no panic").expect("closed");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_a_call_that_nobody_polls_until_its_deadline_only() {
    let (store, module) = FakeStore::with_module();
    let mut call = pin!(module.lock("a").into_future());
    granted_unseen(&store, &mut call).await;
    let begun = Instant::now();
    assert_eq!(module.close(seconds(2)).await.expect("closed"), 0, "nobody's work was broken");
    let took = begun.elapsed();
    assert!(took >= seconds(2) && took < seconds(3), "{took:?}");
    assert_closed(call.await);
}

#[tokio::test(start_paused = true)]
async fn close_does_not_wait_for_a_call_that_never_began() {
    let (_store, module) = FakeStore::with_module();
    let (lock, acquire) = (module.lock("a").into_future(), module.acquire("b").into_future());
    let begun = Instant::now();
    module.close(seconds(60)).await.expect("closed");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_closed(lock.await);
    assert_closed(acquire.await);
}

#[tokio::test(start_paused = true)]
async fn close_waits_until_dropped_guards_are_given_back() {
    let (store, module) = FakeStore::with_module();
    let before = module.lock("a").await.expect("free");
    let during = module.lock("b").await.expect("free");
    store.releases.next(5, Fault::Unavailable);
    drop(before);
    let closing = closing(&module, seconds(60)).await;
    drop(during);
    assert_eq!(closing.await.expect("no panic").expect("closed"), 0);
    assert!(!store.is_held("a") && !store.is_held("b"));
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_a_store_that_is_gone_until_its_deadline_only() {
    let (store, module) = FakeStore::with_module();
    store.releases.all(Fault::Unavailable);
    drop(module.lock("a").await.expect("free"));
    let begun = Instant::now();
    assert_eq!(module.close(seconds(2)).await.expect("closed"), 0, "nobody's work was broken");
    assert!(begun.elapsed() < seconds(3), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_guards_and_jobs() {
    let (store, module) = FakeStore::with_module();
    let guard = module.lock("a").await.expect("free");
    let job = tokio::spawn({
        let module = module.clone();
        async move { module.execute("b", |_| sleep(seconds(3))).await }
    });
    eventually(|| store.is_held("b")).await;
    let begun = Instant::now();
    let closing = closing(&module, seconds(60)).await;
    sleep(seconds(1)).await;
    guard.check().expect("it is left alone until the deadline");
    guard.release().await.expect("held to the end");
    assert_eq!(closing.await.expect("no panic").expect("closed"), 0);
    let took = begun.elapsed();
    assert!(took > seconds(2) && took < seconds(4), "until the job has ended: {took:?}");
    job.await.expect("no panic").expect("the job ran to its end");
    assert!(!store.is_held("b"));
    assert_eq!(store.closes.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn close_breaks_what_is_left_at_its_deadline_and_counts_it() {
    let (store, module) = FakeStore::with_module();
    let one = module.lock("a").await.expect("free");
    let two = module.lock(["b", "c"]).await.expect("free");
    let job = tokio::spawn({
        let module = module.clone();
        async move { module.execute("d", |_| sleep(seconds(3600))).await }
    });
    eventually(|| store.is_held("d")).await;
    let begun = Instant::now();
    assert_eq!(module.close(seconds(2)).await.expect("closed"), 3);
    let took = begun.elapsed();
    assert!(took >= seconds(2) && took < seconds(3), "{took:?}");
    assert_broken(one.check());
    assert_broken(two.release().await);
    assert_broken(job.await.expect("no panic"));
    for key in ["a", "b", "c", "d"] {
        assert!(!store.is_held(key), "{key} is given back");
    }
    assert_eq!(store.closes.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_not_cancelled_when_lost_learns_of_the_close() {
    let (store, module) = FakeStore::with_module();
    let job = tokio::spawn({
        let module = module.clone();
        async move {
            let job = module.execute("a", |lock| async move {
                assert_eq!(lock.lost().await, LossReason::Closed);
            });
            job.cancel_when_lost(false).await
        }
    });
    eventually(|| store.is_held("a")).await;
    assert_eq!(module.close(Duration::ZERO).await.expect("closed"), 1);
    assert_broken(job.await.expect("no panic"));
}

#[tokio::test(start_paused = true)]
async fn a_broken_guard_is_renewed_no_more() {
    let (store, module) = FakeStore::with_module();
    let _guard = module.lock("a").await.expect("free");
    module.close(Duration::ZERO).await.expect("closed");
    let renewals = store.extends.count();
    sleep(seconds(120)).await;
    assert_eq!(store.extends.count(), renewals);
}

#[tokio::test(start_paused = true)]
async fn leases_made_by_acquire_stay() {
    let (store, module) = FakeStore::with_module();
    let lease = module.acquire("a").owner("me").await.expect("free");
    let begun = Instant::now();
    assert_eq!(module.close(seconds(60)).await.expect("closed"), 0);
    assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waits for a lease");
    assert_eq!(store.token("a"), Some(lease.token()));
}

#[tokio::test(start_paused = true)]
async fn a_second_close_has_nothing_to_do() {
    let (_store, module) = FakeStore::with_module();
    assert_eq!(module.close(seconds(60)).await.expect("closed"), 0);
    let begun = Instant::now();
    assert_eq!(module.close(seconds(60)).await.expect("closed already"), 0);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_second_close_counts_no_guard_that_the_first_one_broke() {
    let (_store, module) = FakeStore::with_module();
    let guard = module.lock("a").await.expect("free");
    assert_eq!(module.close(Duration::ZERO).await.expect("closed"), 1);
    let begun = Instant::now();
    assert_eq!(module.close(seconds(60)).await.expect("closed already"), 0);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_broken(guard.check());
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_dropped_half_way_can_be_called_again() {
    let (store, module) = FakeStore::with_module();
    let guard = module.lock("a").await.expect("free");
    timeout(seconds(1), module.close(seconds(60))).await.expect_err("it waits for the guard");
    assert_closed(module.lock("b").await);
    guard.check().expect("the guard is left alone");
    assert_eq!(store.closes.count(), 0);
    let closing = closing(&module, seconds(60)).await;
    drop(guard);
    assert_eq!(closing.await.expect("no panic").expect("closed"), 0);
    assert_eq!(store.closes.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_dropped_while_it_gives_back_can_be_called_again() {
    let (store, module) = FakeStore::with_module();
    let guard = module.lock("a").await.expect("free");
    store.releases.next(1, Fault::Hang);
    timeout(seconds(1), module.close(Duration::ZERO)).await.expect_err("the store hangs");
    assert_broken(guard.check());
    assert!(store.is_held("a"));
    module.close(Duration::ZERO).await.expect("closed");
    assert!(!store.is_held("a"), "the second close goes on where the first one was dropped");
}
