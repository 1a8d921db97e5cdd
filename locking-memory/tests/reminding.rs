//! Those who wait for long have no timer of their own until shortly before they need one.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use locking_core::{Error, Lease, LockingModule, Result, Wait};
use locking_memory::MemoryProvider;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::{Instant, sleep, timeout};

const LONG: Duration = Duration::from_secs(20);
/// More than a deadline or an expiry may be late, and less than the next look would be.
const LATE: Duration = Duration::from_millis(50);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

type Request<'a> = Pin<Box<dyn Future<Output = Result<Lease>> + Send + 'a>>;

fn module() -> (Arc<MemoryProvider>, LockingModule) {
    let provider = Arc::new(MemoryProvider::new());
    (Arc::clone(&provider), LockingModule::with_provider(provider))
}

fn request(module: &LockingModule, wait: impl Into<Wait>) -> Request<'_> {
    Box::pin(module.acquire("k").wait(wait).into_future())
}

/// A runtime that does nothing unless it is driven, and whose clock goes on by itself while it is.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime")
}

async fn is_pending(request: &mut Request<'_>) -> bool {
    std::future::poll_fn(|context| Poll::Ready(request.as_mut().poll(context).is_pending())).await
}

/// Waits until a request times out, and says when.
async fn timed_out(request: Request<'_>) -> Instant {
    let answer = timeout(10 * LONG, request).await.expect("it has a deadline");
    assert!(matches!(answer, Err(Error::TimedOut { .. })), "{answer:?}");
    Instant::now()
}

fn assert_in_time(at: Instant, due: Instant) {
    assert!(due <= at && at <= due + LATE, "{:?} late", at.saturating_duration_since(due));
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(start_paused = true)]
async fn deadlines_that_are_far_off_are_kept() {
    let (_, module) = module();
    module.acquire("k").await.expect("free");
    let began = Instant::now();
    // Also those just before and after a look, and in the order opposite to that in which they came.
    let waits = [ms(30_000), LONG, ms(2_500), ms(2_499), ms(2_000), ms(1_501), ms(1_500), ms(900)];
    let mut waiting: Vec<_> = waits.map(|wait| (wait, request(&module, wait))).into();
    for (_, request) in &mut waiting {
        assert!(is_pending(request).await, "it is held");
    }
    for (wait, request) in waiting.into_iter().rev() {
        assert_in_time(timed_out(request).await, began + wait);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_kept_that_comes_while_others_are_reminded() {
    let (_, module) = module();
    module.acquire("k").await.expect("free");
    let mut endless = request(&module, 100 * LONG);
    assert!(is_pending(&mut endless).await, "it is held");
    for step in 0..40 {
        sleep(ms(137)).await;
        let wait = ms(1_400 + 50 * step);
        let due = Instant::now() + wait;
        assert_in_time(timed_out(request(&module, wait)).await, due);
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_is_far_off_is_not_missed() {
    let (_, module) = module();
    module.acquire("k").expire(LONG).await.expect("free");
    let ends = Instant::now() + LONG;
    let next = timeout(2 * LONG, request(&module, Wait::Unlimited)).await;
    next.expect("it has ended").expect("granted");
    assert_in_time(Instant::now(), ends);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_set_later_is_not_missed() {
    let (_, module) = module();
    let lease = module.acquire("k").await.expect("free");
    let mut next = request(&module, Wait::Unlimited);
    assert!(is_pending(&mut next).await, "it is held");
    sleep(ms(700)).await;
    for length in [LONG, ms(5_000)] {
        module.extend(&lease, length).await.expect("held");
        assert!(is_pending(&mut next).await, "it is held");
    }
    let ends = Instant::now() + ms(5_000);
    timeout(2 * LONG, next).await.expect("it has ended").expect("granted");
    assert_in_time(Instant::now(), ends);
}

#[test]
fn waiters_of_a_runtime_that_is_not_driven_are_reminded_in_the_next() {
    let ((_, module), left, driven) = (module(), runtime(), runtime());
    let mut moved = request(&module, LONG);
    left.block_on(async {
        module.acquire("k").await.expect("free");
        assert!(is_pending(&mut moved).await, "it is held");
    });
    driven.block_on(async {
        let began = Instant::now();
        assert_in_time(timed_out(request(&module, LONG)).await, began + LONG);
        timed_out(moved).await;
    });
}

#[test]
fn who_counts_on_a_runtime_that_is_shut_down_is_reminded_by_its_own() {
    // The clock of each begins where it is made: a deadline by the later one is no sooner.
    let ((_, module), driven, gone) = (module(), runtime(), runtime());
    driven.block_on(async {
        module.acquire("k").await.expect("free");
        let (began, mut waiting) = (Instant::now(), request(&module, LONG));
        let mut gone = Some(gone);
        let waiting = std::future::poll_fn(|context| {
            let entered = gone.as_ref().map(Runtime::enter);
            let answer = waiting.as_mut().poll(context);
            drop(entered);
            if let Some(gone) = gone.take() {
                gone.shutdown_background();
            }
            answer
        });
        let answer = timeout(10 * LONG, waiting).await.expect("it has a deadline");
        assert!(matches!(answer, Err(Error::TimedOut { .. })), "{answer:?}");
        assert_in_time(Instant::now(), began + LONG);
    });
}

#[test]
fn who_comes_to_count_on_the_reminder_of_a_runtime_that_is_shut_down_is_reminded_by_its_own() {
    // The clock of each begins where it is made: a deadline by the later one is no sooner.
    let ((_, module), driven, gone) = (module(), runtime(), runtime());
    let mut other = request(&module, 100 * LONG);
    gone.block_on(async {
        module.acquire("k").await.expect("free");
        assert!(is_pending(&mut other).await, "it is held");
        tokio::task::yield_now().await;
    });
    driven.block_on(async {
        let (began, mut waiting) = (Instant::now(), request(&module, LONG));
        {
            let _entered = gone.enter();
            assert!(is_pending(&mut waiting).await, "it is held");
        }
        gone.shutdown_background();
        let answer = timeout(10 * LONG, waiting).await.expect("it has a deadline");
        assert!(matches!(answer, Err(Error::TimedOut { .. })), "{answer:?}");
        assert_in_time(Instant::now(), began + LONG);
    });
}

#[tokio::test(start_paused = true)]
async fn many_waits_take_one_task_which_ends_after_the_last() {
    let (_, module) = module();
    for _ in 0..100 {
        let held = module.acquire("k").await.expect("free");
        let mut next = request(&module, LONG);
        assert!(is_pending(&mut next).await, "it is held");
        assert_eq!(tasks(), 1);
        assert!(module.release_lease(&held).await.expect("open"));
        module.release_lease(&next.await.expect("its turn")).await.expect("open");
    }
    sleep(ms(2_000)).await;
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_provider() {
    let (provider, module) = module();
    module.acquire("k").await.expect("free");
    let mut next = request(&module, LONG);
    assert!(is_pending(&mut next).await, "it is held");
    drop(next);
    drop((provider, module));
    tokio::task::yield_now().await;
    assert_eq!(tasks(), 0);
}

#[test]
#[should_panic(expected = "timers are disabled")]
fn a_wait_on_a_runtime_without_a_timer_panics_where_it_is_seen() {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let (_, module) = module();
    runtime.block_on(async {
        module.acquire("k").await.expect("free");
        // Else its deadline would pass unseen.
        let _ = request(&module, LONG).await;
    });
}

#[test]
#[should_panic(expected = "being shutdown")]
fn a_wait_in_the_context_of_a_runtime_that_is_gone_panics_where_it_is_seen() {
    let ((_, module), gone) = (module(), runtime());
    let driven = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let context_of_gone = gone.handle().clone();
    drop(gone);
    driven.block_on(async {
        module.acquire("k").await.expect("free");
        let mut waiting = request(&module, LONG);
        // Else it would be woken again and again, and nothing would keep its deadline.
        let polled = std::future::poll_fn(|context| {
            let _entered = context_of_gone.enter();
            waiting.as_mut().poll(context)
        });
        let _ = timeout(ms(100), polled).await;
    });
}
