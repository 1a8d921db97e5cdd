use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::context::LockContext;
use super::keeper::Keeper;
use super::state::GuardState;
use crate::background;
use crate::error::{Error, Result};
use crate::lease::Lease;
use crate::loss::LossReason;
use crate::token::FencingToken;

/// A lock that this process keeps alive, and gives back when this value is dropped.
///
/// Its lease is renewed in the background, at a third of its length, by the runtime on which it was
/// acquired. Dropping it gives the keys back without blocking: at once where the provider can,
/// else by a task; with that runtime gone they become free when the lease ends. To know that they
/// are free, and whether the lock was held to the end, use [`release`](Self::release).
#[must_use = "the lock is given back when the guard is dropped"]
pub struct LockGuard {
    state: Arc<GuardState>,
    keeper: Arc<Keeper>,
    id: u64,
    granted: Instant,
    /// Whether the store has answered for the keys: they are given back, or were lost.
    settled: bool,
}

impl LockGuard {
    /// Takes a granted hold into care. From here on it can't leak.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the module is being closed; the hold is given back.
    pub(crate) fn new(state: GuardState, keeper: Arc<Keeper>) -> Result<Self> {
        let state = Arc::new(state);
        let Some(id) = keeper.register(&state) else {
            give_back(&state, &keeper);
            return Err(Error::closed(&state.lease.provider));
        };
        Ok(Self { state, keeper, id, granted: Instant::now(), settled: false })
    }

    /// Where the grant took so long to arrive that it could be stale, believes only a renewal.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if it was stale; what else the store answers to the renewal.
    pub(crate) async fn confirmed(self) -> Result<Self> {
        if self.state.needs_confirmation() {
            let unanswered = |_| Error::unknown_outcome(&self.state.lease.provider, "no answer");
            let renewed = tokio::time::timeout(self.state.expiry.get(), self.state.renew()).await;
            renewed.map_err(unanswered)??;
            // A loss is final: the grant's own deadline may have passed before the answer came.
            self.check()?;
        }
        Ok(self)
    }

    /// The greatest fencing token of the lock: with one key, that key's.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.state.lease.greatest_token()
    }

    /// The fencing token of one key; `None` if the lock doesn't have that key.
    #[must_use]
    pub fn token_of(&self, key: &str) -> Option<FencingToken> {
        self.state.lease.token(key)
    }

    /// The lock's keys, owner and tokens.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.state.lease
    }

    /// Whether the lock is still held, as far as this process can know: no I/O, two clock readings.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] from the local deadline on, which lies before the moment at which the store
    /// gives the keys to somebody else, or once the loss was signalled.
    pub fn check(&self) -> Result<()> {
        self.state.check()
    }

    /// Waits until the lock is lost: at its local deadline at the latest. Cancellation safe; it can
    /// be awaited again.
    pub async fn lost(&self) -> LossReason {
        self.state.lost().await
    }

    /// The time for which the lock is believed in without a further renewal.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        self.state.expires_in()
    }

    /// What a job needs to know of this lock; it doesn't keep the lock alive.
    #[must_use]
    pub fn context(&self) -> LockContext {
        LockContext::new(Arc::clone(&self.state))
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
    pub async fn release(self) -> Result<()> {
        let valid = self.check();
        let released = self.give_back().await;
        valid.and(released)
    }

    /// Gives the keys back after the guarded work is done. A store that can't be reached is logged
    /// and no error: the lock was held while it was needed.
    pub(crate) async fn finish(self) -> Result<()> {
        self.check()?;
        match self.give_back().await {
            Err(lost @ Error::Lost { .. }) => Err(lost),
            Err(error) => {
                tracing::warn!(%error, "the job is done, but its lock could not be given back yet");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    pub(crate) fn lost_error(&self, reason: LossReason) -> Error {
        self.state.lost_error(reason)
    }

    async fn give_back(mut self) -> Result<()> {
        self.state.end();
        let released = self.state.provider.release_lease(&self.state.lease).await;
        self.settled = matches!(released, Ok(()) | Err(Error::Lost { .. }));
        released
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.state.end();
        // Before it is removed: so a close sees the guard, or that it is being given back.
        if !self.settled {
            give_back(&self.state, &self.keeper);
        }
        self.keeper.remove(self.id, &self.state);
        tracing::debug!(
            provider = %self.state.lease.provider, keys = ?self.state.lease.keys(),
            held = ?self.granted.elapsed(), lost = ?self.state.loss.reason(), "lock given back"
        );
    }
}

/// Gives a hold back in the background, until its lease must have ended.
fn give_back(state: &GuardState, keeper: &Arc<Keeper>) {
    let within = state.is_renewed().then(|| state.expiry.get());
    background::release(
        Arc::clone(&state.provider),
        state.lease.clone(),
        within,
        &keeper.runtime,
        || keeper.giving_back(),
    );
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LockGuard").field(&self.state).finish()
    }
}
