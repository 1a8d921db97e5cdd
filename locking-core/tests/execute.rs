//! Jobs that run while a lock is held.

mod support;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use locking_core::{Error, LossReason, Moment, Session};
use support::fault::Fault;
use support::{FakeStore, seconds};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

const LEASE: Duration = Duration::from_secs(30);

/// Set when it is dropped: the job that owned it has ended.
#[derive(Clone, Default)]
struct Flag(Arc<AtomicBool>);

impl Flag {
    fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

fn assert_lost(error: &Error) {
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
    assert_eq!(error.key().expect("a key").as_str(), "a");
}

#[tokio::test(start_paused = true)]
async fn execute_answers_what_the_job_returns() {
    let (store, module) = FakeStore::with_module();
    let held = || store.is_held("a");
    let answer = module.execute("a", |_| async { held() }).await;
    assert!(answer.expect("it ran"), "the key is held meanwhile");
    assert!(!store.is_held("a"), "it is free when the call returns");
}

#[tokio::test(start_paused = true)]
async fn a_result_of_the_job_is_handed_over_as_it_is() {
    let (store, module) = FakeStore::with_module();
    let failed: Result<u8, &str> = module
        .execute("a", |_| async { Err("the job's own error") })
        .await
        .expect("the lock did its part");
    assert_eq!(failed, Err("the job's own error"));
    assert!(!store.is_held("a"));
}

#[tokio::test(start_paused = true)]
async fn a_job_may_borrow_from_its_caller() {
    let (_store, module) = FakeStore::with_module();
    let mut done = Vec::new();
    let job = module.execute("a", |_| async { done.push("work") });
    job.await.expect("it ran");
    assert_eq!(done, ["work"]);
}

#[tokio::test(start_paused = true)]
async fn the_panic_of_a_job_goes_on_and_gives_the_keys_back() {
    let (store, module) = FakeStore::with_module();
    let job = tokio::spawn(async move {
        module.execute("a", |_| async { std::panic::resume_unwind(Box::new("boom")) }).await
    });
    let joined: Result<Result<(), Error>, _> = job.await;
    let panic = joined.expect_err("it panicked").into_panic();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"boom"));
    store.freed("a").await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cancelled_cancels_the_job_and_gives_the_keys_back() {
    let (store, module) = FakeStore::with_module();
    let finished = Flag::default();
    let job = module.execute("a", |_| async {
        sleep(seconds(10)).await;
        finished.set();
    });
    timeout(seconds(1), job).await.expect_err("it takes longer");
    store.freed("a").await;
    sleep(seconds(60)).await;
    assert!(!finished.is_set());
}

#[tokio::test(start_paused = true)]
async fn a_timed_out_acquisition_never_starts_the_job() {
    let (_store, module) = FakeStore::with_module();
    let _held = module.acquire("a").await.expect("free");
    let started = Flag::default();
    let begun = Instant::now();
    let job = module.execute("a", |_| async { started.set() });
    let error = job.timeout(seconds(2)).await.expect_err("held");
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    assert!(begun.elapsed() >= seconds(2) && begun.elapsed() <= Duration::from_millis(2050));
    assert!(!started.is_set());
}

#[tokio::test(start_paused = true)]
async fn an_execution_inside_an_execution_on_the_same_key_times_out() {
    let (_store, module) = FakeStore::with_module();
    let inner = module
        .execute("a", |_| async { module.execute("a", |_| async {}).timeout(seconds(1)).await })
        .await
        .expect("the outer one ran");
    assert!(matches!(inner, Err(Error::TimedOut { .. })), "{inner:?}");
}

#[tokio::test(start_paused = true)]
async fn a_long_job_keeps_its_lock() {
    let (store, module) = FakeStore::with_module();
    let job = module.execute("a", |lock| async move {
        let token = lock.token();
        sleep(seconds(3600)).await;
        lock.check().map(|()| token)
    });
    let token = job.lease(LEASE).await.expect("it ran").expect("held all the time");
    assert!(token.get() > 0 && store.extends.count() > 300);
}

#[tokio::test(start_paused = true)]
async fn a_job_knows_the_token_of_each_of_its_keys() {
    let (store, module) = FakeStore::with_module();
    let job = module.execute(["b", "a"], |lock| {
        let expected = ["a", "b", "c"].map(|key| store.token(key));
        async move { (["a", "b", "c"].map(|key| lock.token_of(key)), expected, lock.token()) }
    });
    let (known, expected, greatest) = job.await.expect("it ran");
    assert_eq!(known, expected);
    assert!(known[0].is_some() && known[1].is_some() && known[2].is_none());
    assert_eq!(Some(greatest), known[0].max(known[1]));
}

#[tokio::test(start_paused = true)]
async fn a_lost_lock_cancels_the_job_at_its_next_await() {
    let (store, module) = FakeStore::with_module();
    let finished = Flag::default();
    let begun = Instant::now();
    let job = module.execute("a", |_| async {
        store.forget("a");
        sleep(seconds(3600)).await;
        finished.set();
    });
    assert_lost(&job.lease(LEASE).await.expect_err("lost"));
    assert!(begun.elapsed() < LEASE / 2, "at the next renewal: {:?}", begun.elapsed());
    assert!(!finished.is_set());
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_lock_is_lost_already_does_not_go_on_after_its_await() {
    let (_store, module) = FakeStore::with_module();
    let went_on = Flag::default();
    let (wake, woken) = oneshot::channel::<()>();
    let mut call = pin!(
        module
            .execute("a", |_| async {
                woken.await.expect("woken");
                went_on.set();
                std::future::pending::<()>().await;
            })
            .into_future()
    );
    timeout(seconds(1), &mut call).await.expect_err("it waits");
    // Both before the job is polled again: its lock is lost, and what it awaits is there.
    module.release_all().including_running().await.expect("it answers");
    wake.send(()).expect("the job waits");
    assert_lost(&call.await.expect_err("lost"));
    assert!(!went_on.is_set());
}

#[tokio::test(start_paused = true)]
async fn a_job_without_a_reachable_store_is_cancelled_before_its_key_goes_to_somebody_else() {
    let leases = || (50..=500).step_by(15).chain([30_000]).map(Duration::from_millis);
    for (silence, lease) in [Fault::Hang, Fault::Unavailable, Fault::Panic]
        .into_iter()
        .flat_map(|silence| leases().map(move |lease| (silence, lease)))
    {
        let (store, module) = FakeStore::with_module();
        store.extends.all(silence);
        let begun = Instant::now();
        let job = timeout(lease * 2, module.execute("a", |_| sleep(seconds(3600))).lease(lease));
        assert_lost(&job.await.expect("it is told").expect_err("lost"));
        let took = begun.elapsed();
        assert!(took < lease, "{took:?} of {lease:?} with {silence:?}");
        let tries = store.extends.count();
        assert!(tries < 100, "{tries} renewals in {lease:?} with {silence:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_not_cancelled_runs_to_its_end_and_is_lost_all_the_same() {
    let (store, module) = FakeStore::with_module();
    let finished = Flag::default();
    let job = module.execute("a", |lock| {
        let (finished, store) = (finished.clone(), store.clone());
        async move {
            store.forget("a");
            assert_eq!(lock.lost().await, LossReason::Expired);
            lock.check().expect_err("lost");
            sleep(seconds(60)).await;
            finished.set();
        }
    });
    assert_lost(&job.lease(LEASE).cancel_when_lost(false).await.expect_err("lost"));
    assert!(finished.is_set());
}

#[tokio::test(start_paused = true)]
async fn a_lock_lost_in_the_instant_in_which_the_job_finished_is_lost() {
    for cancel in [true, false] {
        let (store, module) = FakeStore::with_module();
        let session = Session::new(Moment::now().saturating_add(seconds(10)));
        store.carry_guards_on(session.clone());
        let job = module.execute("a", |_| async { session.end() });
        let error = job.cancel_when_lost(cancel).await.expect_err("lost");
        assert!(matches!(error, Error::Lost { reason: LossReason::SessionEnded, .. }), "{error:?}");
        store.freed("a").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_takes_its_lock_away_itself_and_finishes_is_lost() {
    for cancel in [true, false] {
        let (store, module) = FakeStore::with_module();
        let job = module.execute("a", |_| async {
            module.release_all().including_running().await.expect("it answers");
        });
        let error = job.cancel_when_lost(cancel).await.expect_err("lost");
        assert!(matches!(error, Error::Lost { reason: LossReason::Revoked, .. }), "{error:?}");
        assert!(!store.is_held("a"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_loss_that_only_the_final_release_finds_is_a_loss() {
    for cancel in [true, false] {
        let (store, module) = FakeStore::with_module();
        let job = module.execute("a", |_| async { store.forget("a") });
        assert_lost(&job.cancel_when_lost(cancel).await.expect_err("not ours any more"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_blocked_past_its_lease_is_lost() {
    let (store, module) = FakeStore::with_module();
    store.extends.all(Fault::Hang);
    let job = module.execute("a", |_| async {
        // No await that could be cancelled at: as if the thread had been blocked.
        tokio::time::advance(LEASE).await;
    });
    assert_lost(&job.lease(LEASE).await.expect_err("lost"));
}

#[tokio::test(start_paused = true)]
async fn the_result_stands_where_the_store_is_gone_at_the_final_release() {
    let (store, module) = FakeStore::with_module();
    store.releases.next(5, Fault::Unavailable);
    let answer = module.execute("a", |_| async { 42 }).await;
    assert_eq!(answer.expect("the lock was valid when the job ended"), 42);
    store.freed("a").await;
    assert_eq!(store.releases.count(), 6, "it goes on in the background");
}

#[tokio::test(start_paused = true)]
async fn jobs_on_one_key_run_one_after_the_other() {
    let (_store, module) = FakeStore::with_module();
    let busy = Flag::default();
    let mut jobs = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (module, busy) = (module.clone(), busy.clone());
        jobs.spawn(async move {
            let job = module.execute("a", |_| async move {
                assert!(!busy.0.swap(true, Ordering::SeqCst), "two jobs at once");
                sleep(Duration::from_millis(20)).await;
                busy.0.store(false, Ordering::SeqCst);
            });
            job.timeout(seconds(600)).await
        });
    }
    while let Some(job) = jobs.join_next().await {
        job.expect("no panic").expect("it ran");
    }
}
