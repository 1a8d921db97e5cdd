//! What many cases need: bounds on time, conditions to wait for, futures that are dropped half way.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use locking_core::{Error, LockGuard, LockingModule};
use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

/// The contract's bound for what takes a moment: a wake-up, a clean-up.
pub(crate) const SOON: Duration = Duration::from_secs(1);

/// A lease that is over soon, and long enough for a loaded machine to do something under it.
pub(crate) const SHORT: Duration = Duration::from_millis(600);

/// Longer than any case waits for.
pub(crate) const LONG: Duration = Duration::from_secs(30);

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The output of a future that must be ready within [`SOON`].
pub(crate) async fn soon<T>(what: &str, future: impl IntoFuture<Output = T>) -> T {
    within(SOON, what, future).await
}

/// The output of a future that must be ready in time.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    future: impl IntoFuture<Output = T>,
) -> T {
    match timeout(limit, future.into_future()).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: not within {limit:?}"),
    }
}

/// Waits until a condition holds, at most [`SOON`].
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, condition: impl FnMut() -> F) {
    until_within(SOON, what, condition).await;
}

/// Waits until a condition holds.
pub(crate) async fn until_within<F: Future<Output = bool>>(
    limit: Duration,
    what: &str,
    condition: impl FnMut() -> F,
) {
    assert!(holds_within(limit, condition).await, "{what}: not within {limit:?}");
}

/// Whether a condition comes to hold.
pub(crate) async fn holds_within<F: Future<Output = bool>>(
    limit: Duration,
    mut condition: impl FnMut() -> F,
) -> bool {
    let give_up = Instant::now() + limit;
    while !condition().await {
        if Instant::now() >= give_up {
            return false;
        }
        sleep(ms(2)).await;
    }
    true
}

/// Whether nobody holds a key: it is taken and given back.
pub(crate) async fn is_free(module: &LockingModule, key: &str) -> bool {
    match module.acquire(key).await {
        Ok(lease) => {
            let released = module.release_lease(&lease).await;
            assert!(matches!(released, Ok(true)), "a key just taken is given back: {released:?}");
            true
        }
        Err(Error::Held { .. }) => false,
        Err(error) => panic!("a key can be asked for: {error:?}"),
    }
}

/// Waits until a key is free, at most [`SOON`].
pub(crate) async fn until_free(module: &LockingModule, key: &str) {
    until(&format!("`{key}` is free"), || is_free(module, key)).await;
}

/// A guard of a key that was held when it was asked for.
pub(crate) async fn guard_that_waited(
    holder: &LockingModule,
    waiter: &LockingModule,
    key: &str,
) -> LockGuard {
    let first = holder.acquire(key).await.expect("free");
    let (module, wanted) = (waiter.clone(), key.to_owned());
    let waiting = tokio::spawn(async move { module.lock(wanted).timeout(LONG).await });
    a_moment().await;
    assert!(!waiting.is_finished(), "it waits");
    assert!(holder.release_lease(&first).await.expect("answered"));
    within(LONG, "the guard", waiting).await.expect("no panic").expect("granted")
}

/// Lets a lease end, by the store's own clock, without anybody asking for its keys.
pub(crate) async fn let_expire(expiry: Duration) {
    sleep(expiry + ms(30)).await;
}

/// Gives other tasks and clients the time to do what they would do.
pub(crate) async fn a_moment() {
    sleep(ms(50)).await;
}

/// Works for a while, and says when it has begun. A key that is held is no sign of that: the grant
/// can still be on its way.
pub(crate) async fn work(begun: Arc<Notify>, time: Duration) {
    begun.notify_one();
    sleep(time).await;
}

/// Polls a future at most `polls` times, each time when it was woken, then drops it.
pub(crate) async fn polled<F: IntoFuture>(polls: usize, future: F) -> Option<F::Output> {
    Polled { left: polls, future: pin!(future.into_future()) }.await
}

/// Polls a future once.
pub(crate) async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

struct Polled<'a, F> {
    left: usize,
    future: Pin<&'a mut F>,
}

impl<F: Future> Future for Polled<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        match self.future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            // Dropped at this await point, not woken once more.
            Poll::Pending if self.left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Asserts what holds whatever the machine does meanwhile, be it that it stands still: that two don't believe in
/// a key at one moment, that tokens grow. Other assertions may fail because the machine was late: that of a
/// guard's holder to be alone, say, who may have slept through its loss.
macro_rules! always {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            $crate::support::violated(format!($($why)+));
        }
    };
}
pub(crate) use always;

/// What was violated so far, by the runtime of the attempt that saw it.
static VIOLATIONS: Mutex<Vec<(Id, String)>> = Mutex::new(Vec::new());

/// Fails a case for good. Noted beside the panic, which may come to the case as another one: that of who
/// waited for the task.
#[track_caller]
pub(crate) fn violated(what: String) -> ! {
    VIOLATIONS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push((Handle::current().id(), what.clone()));
    panic!("{what}");
}

/// The first violation that was seen in an attempt, by its runtime.
pub(crate) fn violation_in(runtime: Id) -> Option<String> {
    let mut violations = VIOLATIONS.lock().unwrap_or_else(PoisonError::into_inner);
    let of_it = violations.extract_if(.., |(id, _)| *id == runtime);
    of_it.map(|(_, what)| what).reduce(|first, _| first)
}

/// Asserts that an answer is of this kind, and shows it where it isn't.
macro_rules! assert_answer {
    ($answer:expr, $pattern:pat $(if $guard:expr)?, $($why:tt)+) => {
        match $answer {
            $pattern $(if $guard)? => {}
            other => panic!("{}: got {other:?}", format_args!($($why)+)),
        }
    };
}
pub(crate) use assert_answer;
