use std::fmt;

use tracing::field::Empty;

use super::CallFuture;
use super::call::{refused, traced};
use super::lock::{Asking, Lock};
use super::unless_lost::unless_lost;
use crate::error::Result;
use crate::guard::LockContext;
use crate::time::Wait;

/// A call of [`LockingModule::execute`](super::LockingModule::execute); awaiting it gives what the
/// job gives.
///
/// # Errors
///
/// - What [`Lock`] names: then the job was never started.
/// - [`Error::Lost`](crate::Error::Lost) if the lock was lost while the job ran, even where it
///   finished in the same instant. The job's output is dropped: others may have worked meanwhile.
///
/// # Panics
///
/// As [`Lock`] does, and when the job panics: the keys are given back, and the panic goes on.
///
/// # Cancellation safety
///
/// Dropped at any await point, the job is cancelled and the keys are given back within 1 s.
#[must_use = "nothing runs before it is awaited"]
pub struct Execute<'a, F> {
    lock: Lock<'a>,
    job: F,
    cancel_when_lost: bool,
}

impl<'a, F> Execute<'a, F> {
    pub(super) fn new(lock: Lock<'a>, job: F) -> Self {
        Self { lock, job, cancel_when_lost: true }
    }

    /// How long to wait for keys that others hold. Default: the provider's
    /// `wait_locking_timeout`, 5 s. Zero tries once.
    pub fn timeout(self, timeout: impl Into<Wait>) -> Self {
        Self { lock: self.lock.timeout(timeout), ..self }
    }

    /// How long the keys stay held after this process died. Default: 30 s; at least 50 ms. It is
    /// renewed at a third of it, however long the job takes.
    pub fn lease(self, lease: std::time::Duration) -> Self {
        Self { lock: self.lock.lease(lease), ..self }
    }

    /// The provider to ask, by id or identifier, with or without `lp_`. Default: the default one.
    pub fn provider(self, name: &str) -> Self {
        Self { lock: self.lock.provider(name), ..self }
    }

    /// Whether a job whose lock is lost is cancelled at its next await. Default: `true`. If not, it
    /// learns of the loss from its context and runs to its end; the answer is *lost* all the same.
    pub fn cancel_when_lost(self, cancel: bool) -> Self {
        Self { cancel_when_lost: cancel, ..self }
    }
}

async fn run<F, Fut>(asking: Asking<'_>, job: F, cancel_when_lost: bool) -> Result<Fut::Output>
where
    F: FnOnce(LockContext) -> Fut,
    Fut: Future,
{
    let guard = asking.guard().await?;
    let job = job(guard.context());
    let output = if cancel_when_lost { unless_lost(&guard, job).await? } else { job.await };
    guard.finish().await?;
    Ok(output)
}

impl<'a, F, Fut> IntoFuture for Execute<'a, F>
where
    F: FnOnce(LockContext) -> Fut + Send + 'a,
    Fut: Future + Send + 'a,
    Fut::Output: Send,
{
    type Output = Result<Fut::Output>;
    type IntoFuture = CallFuture<'a, Fut::Output>;

    fn into_future(self) -> CallFuture<'a, Fut::Output> {
        let span = tracing::debug_span!(
            "locking.execute",
            provider = Empty,
            keys = Empty,
            outcome = Empty
        );
        let span = self.lock.described(span);
        match self.lock.start() {
            Ok(asking) => traced(span, Box::pin(run(asking, self.job, self.cancel_when_lost))),
            Err(error) => {
                span.record("outcome", error.outcome());
                refused("execute", error)
            }
        }
    }
}

impl<F> fmt::Debug for Execute<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execute").field("lock", &self.lock).finish_non_exhaustive()
    }
}
