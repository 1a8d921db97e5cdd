use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use crate::background;
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::late;
use crate::provider::LockingProvider;
use crate::request::AcquireRequest;
use crate::time::{Expiry, WaitUntil};

/// A store that can try to take keys, but has no waiting of its own.
///
/// With it, [`LockingProvider::acquire`] is one line: [`acquire_by_polling`].
#[async_trait]
pub trait TryAcquire: LockingProvider + Clone {
    /// Takes all keys of the request, or none. Never waits.
    ///
    /// # Contract
    ///
    /// What [`LockingProvider::acquire`] says of a request that doesn't wait, except that the
    /// future always runs to its end: it is never dropped half way while its runtime lives.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] with the first blocking key in byte order, or what else
    /// [`LockingProvider::acquire`] names for a request that doesn't wait.
    async fn try_acquire(&self, request: &AcquireRequest) -> Result<Grant>;
}

/// Tries to take the keys of a request until it succeeds or the request's deadline is over, with
/// back-off and jitter between the attempts.
///
/// Each attempt runs as a task of its own to its end. Where the caller is dropped meanwhile, or
/// the deadline passes, what the attempt took is given back in the background: tried until the store can be
/// reached, or the lease has ended by itself; a day for one without an end. A lease that it entered again keeps
/// the longer expiry that the attempt set.
///
/// A provider that polls lets [`release_lease`](LockingProvider::release_lease) through after its
/// close, so that an attempt which was under way can be given back.
///
/// Its fairness is that of a race, and a waiter can be late by the longest delay of `backoff`:
/// keep that well below a second.
///
/// The last attempt begins before the deadline by twice what the one before it took, but by no less
/// than 25 ms and no more than 100 ms, so that its answer is there in time.
///
/// # Errors
///
/// - [`Error::Held`] if the keys are held and the request doesn't wait.
/// - [`Error::TimedOut`] if they were held at the last attempt; it is told at the deadline.
/// - [`Error::UnknownOutcome`] if an attempt is unanswered 35 ms after the deadline; a little later where
///   the machine ran nothing meanwhile.
/// - What else [`TryAcquire::try_acquire`] answers, except that a request that waits tries again
///   while the store is [unavailable](Error::Unavailable).
pub async fn acquire_by_polling<P: TryAcquire>(
    provider: &P,
    request: AcquireRequest,
    mut backoff: Backoff,
) -> Result<Grant> {
    let provider = Arc::new(provider.clone());
    let request = Arc::new(request);
    loop {
        let begun = Instant::now();
        let refused = match before(request.wait, attempt(&provider, &request)).await {
            Some(Ok(grant)) => return Ok(grant),
            Some(Err(error)) => error,
            None => {
                return Err(Error::unknown_outcome(provider.id(), "no answer before the deadline"));
            }
        };
        if request.wait == WaitUntil::Now || !may_change(&refused) {
            return Err(refused);
        }
        let delay = backoff.next_delay();
        let Some(deadline) = request.wait.instant() else {
            sleep(delay).await;
            continue;
        };
        let now = Instant::now();
        let last_attempt = before_deadline(deadline, now - begun);
        if now >= last_attempt {
            sleep_until(deadline).await;
            return Err(timed_out(refused));
        }
        sleep_until(last_attempt.min(now + delay)).await;
    }
}

/// When the last attempt begins, after one that took so long: an attempt that is unanswered at the
/// deadline leaves the caller without a true answer. The limits keep the time short in which a key that
/// becomes free isn't seen.
fn before_deadline(deadline: Instant, took: Duration) -> Instant {
    const LEAST: Duration = Duration::from_millis(25);
    const MOST: Duration = Duration::from_millis(100);
    deadline.checked_sub((2 * took).clamp(LEAST, MOST)).unwrap_or(deadline)
}

fn may_change(refused: &Error) -> bool {
    matches!(refused, Error::Held { .. } | Error::Unavailable { .. })
}

fn timed_out(refused: Error) -> Error {
    match refused {
        Error::Held { provider, key } => Error::TimedOut { provider, key },
        other => other,
    }
}

/// Runs a future until the request's deadline, and a little longer for an attempt that is about to be
/// answered.
async fn before<T>(wait: WaitUntil, future: impl Future<Output = T>) -> Option<T> {
    match wait.instant() {
        Some(deadline) => late::at(deadline, future).await,
        None => Some(future.await),
    }
}

/// One attempt on a task of its own. Whoever drops this future leaves the attempt to undo itself.
async fn attempt<P: TryAcquire>(provider: &Arc<P>, request: &Arc<AcquireRequest>) -> Result<Grant> {
    let (answer, answered) = oneshot::channel();
    let (worker, request) = (Arc::clone(provider), Arc::clone(request));
    let runtime = Handle::current();
    tokio::spawn(async move {
        let outcome = worker.try_acquire(&request).await;
        let lasts = request.expiry.map(Expiry::get);
        let kept = outcome.map(|grant| Undelivered {
            provider: worker,
            grant: Some(grant),
            lasts,
            runtime,
        });
        // Where nobody listens any more the answer comes back, and is undone as it is dropped.
        drop(answer.send(kept));
    });
    match answered.await {
        Ok(outcome) => outcome.map(Undelivered::deliver),
        Err(_) => Err(Error::unknown_outcome(provider.id(), "the attempt panicked")),
    }
}

/// A grant on its way to the caller; dropped on the way, it is given back.
struct Undelivered<P: TryAcquire> {
    provider: Arc<P>,
    grant: Option<Grant>,
    /// What was asked for; `None`: without an end.
    lasts: Option<Duration>,
    runtime: Handle,
}

impl<P: TryAcquire> Undelivered<P> {
    fn deliver(mut self) -> Grant {
        self.grant.take().expect("a grant is delivered once")
    }
}

impl<P: TryAcquire> Drop for Undelivered<P> {
    fn drop(&mut self) {
        if let Some(grant) = self.grant.take() {
            background::release(&self.provider, &grant.lease, self.lasts, &self.runtime, || ());
        }
    }
}
