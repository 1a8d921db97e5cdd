use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Id;
use tokio::time::{Instant, timeout, timeout_at};

use super::context::LockContext;
use super::keeper::Keeper;
use super::state::GuardState;
use crate::background;
use crate::error::{Error, Result};
use crate::lease::lease_event;
use crate::loss::LossReason;
use crate::moment::Moment;
use crate::with_causes::WithCauses;

/// For how long a finished job's result is held back for the answer of the store.
const FINISH: Duration = Duration::from_secs(2);

/// A lock that this process keeps alive, and gives back when this value is dropped.
///
/// Its lease is renewed in the background, at a third of its length, by the runtime on which it was
/// acquired. Dropping it gives the keys back without blocking: at once where the provider can,
/// else by a task; with that runtime gone they become free when the lease ends. To know that they
/// are free, and whether the lock was held to the end, use [`release`](Self::release).
///
/// What it knows of the lock, it knows as a [`LockContext`], to which it dereferences: `token()`,
/// `check()`, `lost()`, `expires_in()`.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct LockGuard {
    context: LockContext,
    keeper: Arc<Keeper>,
    id: u64,
    /// Read only where somebody listens.
    granted: Option<Instant>,
    /// Whether the store has answered for the keys: they are given back, or were lost.
    settled: bool,
}

impl LockGuard {
    /// Takes a granted hold into care. From here on it can't leak.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the module is being closed; the hold is given back.
    pub(crate) fn new(state: GuardState, keeper: Arc<Keeper>, now: Instant) -> Result<Self> {
        let state = Arc::new(state);
        let Some(id) = keeper.register(&state, now) else {
            give_back(&state, &keeper);
            return Err(Error::closed(&state.lease.provider).about(&state.lease.key_set()));
        };
        let context = LockContext::new(state);
        let granted = tracing::enabled!(tracing::Level::DEBUG).then_some(now);
        Ok(Self { context, keeper, id, granted, settled: false })
    }

    /// Whether the grant took so long to arrive that it could be stale.
    pub(crate) fn needs_confirmation(&self, now: Moment) -> bool {
        self.state().needs_confirmation(now)
    }

    /// Believes only a renewal that is answered by `deadline`.
    ///
    /// # Errors
    ///
    /// - [`Error::Lost`] if the grant was stale.
    /// - [`Error::Closed`] if the provider was closed meanwhile.
    /// - [`Error::UnknownOutcome`] if the renewal failed otherwise: the grant is being given back, but at a
    ///   store that has just failed.
    pub(crate) async fn confirmed(self, deadline: Option<Instant>) -> Result<Self> {
        let latest = Instant::now() + self.state().expiry.get();
        let latest = deadline.map_or(latest, |deadline| deadline.min(latest));
        let provider = &self.lease().provider;
        self.state().is_not_told_of(true);
        match timeout_at(latest, self.state().renew()).await {
            Ok(Err(error)) => {
                return Err(match error {
                    Error::Lost { .. } | Error::UnknownOutcome { .. } | Error::Closed { .. } => {
                        error
                    }
                    error => Error::unknown_outcome(provider, error),
                });
            }
            Err(_) => return Err(Error::unknown_outcome(provider, "no answer")),
            Ok(Ok(())) => {}
        }
        // A loss is final: the grant's own deadline may have passed before the answer came.
        self.check()?;
        self.state().is_not_told_of(false);
        Ok(self)
    }

    /// Gives the keys back and waits until they are free.
    ///
    /// Cancellation safe: dropped half way, or failed for a store that can't be reached, it goes
    /// on in the background.
    ///
    /// # Errors
    ///
    /// - [`Error::Lost`] if the lock was lost before; what was left of it is given back.
    /// - [`Error::Unavailable`] or [`Error::UnknownOutcome`] if the store didn't answer.
    /// - [`Error::CapacityExceeded`] if it has no room even for that.
    pub async fn release(mut self) -> Result<()> {
        let valid = self.check();
        let within = self.state().expiry.get();
        let released = self.give_back(within).await;
        valid.and(released.map_err(|error| error.about(&self.lease().key_set())))
    }

    /// Gives the keys back after the guarded work is done. A store that can't be reached is logged
    /// and no error: the lock was held while it was needed.
    pub(crate) async fn finish(mut self) -> Result<()> {
        self.check()?;
        let within = self.state().expiry.get().min(FINISH);
        match self.give_back(within).await {
            Err(lost @ Error::Lost { .. }) => Err(lost),
            Err(error) => {
                let lease = self.lease();
                lease_event!(
                    warn, lease, error = %WithCauses::of(&error),
                    "the job is done, but its lock could not be given back yet"
                );
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// What a job needs to know of this lock; it doesn't keep the lock alive.
    #[must_use]
    pub fn context(&self) -> LockContext {
        self.context.clone()
    }

    /// The runtime that renews it.
    pub(crate) fn runtime(&self) -> Id {
        self.keeper.runtime.id()
    }

    fn state(&self) -> &GuardState {
        self.context.state()
    }

    /// Gives the hold back and waits for the answer for so long; then it goes on in the background.
    async fn give_back(&mut self, within: Duration) -> Result<()> {
        self.state().end();
        let state = self.state();
        let released = if let Some(released) = state.provider.release_now(&state.lease) {
            self.settled = true;
            released
        } else {
            // In a box: the usual guard needs no room for it.
            Box::pin(self.ask_to_release(within)).await
        };
        if let Err(Error::Lost { reason, .. }) = &released {
            self.state().warn_lost(*reason);
        }
        released
    }

    async fn ask_to_release(&mut self, within: Duration) -> Result<()> {
        let state = self.state();
        let release = timeout(within, state.provider.release_lease(&state.lease));
        let unanswered = |_| Error::unknown_outcome(&state.lease.provider, "no answer");
        let released = release.await.map_err(unanswered).flatten();
        self.settled = matches!(released, Ok(()) | Err(Error::Lost { .. }));
        released
    }
}

impl Deref for LockGuard {
    type Target = LockContext;

    fn deref(&self) -> &LockContext {
        &self.context
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        let state = self.state();
        // Its deadline may have passed without anybody's looking; unless the store has just answered for it.
        let lost = if self.settled { state.signalled() } else { state.loss_reason() };
        let lost = lost.filter(|reason| *reason != LossReason::Released);
        if let Some(reason) = lost {
            state.warn_lost(reason);
        }
        state.end();
        // Before it is removed: so a close sees the guard, or that it is being given back.
        if !self.settled {
            give_back(self.state(), &self.keeper);
        }
        self.keeper.remove(self.id, self.state());
        if let Some(granted) = self.granted {
            let (lease, held) = (self.lease(), granted.elapsed());
            lease_event!(
                debug,
                lease,
                ?held,
                lost = lost.map(tracing::field::display),
                "lock given back"
            );
        }
    }
}

/// Gives a hold back in the background, until its lease must have ended.
fn give_back(state: &GuardState, keeper: &Arc<Keeper>) {
    let within = Some(state.expiry.get());
    let pending = || keeper.giving_back();
    background::release(&state.provider, &state.lease, within, &keeper.runtime, pending);
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LockGuard").field(self.state()).finish()
    }
}
