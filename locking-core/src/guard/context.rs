use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::state::GuardState;
use crate::error::{Error, Result};
use crate::lease::Lease;
use crate::loss::LossReason;
use crate::token::FencingToken;

/// What a job knows of the lock that it runs under, and a guard of its own.
#[derive(Clone)]
pub struct LockContext(Arc<GuardState>);

impl LockContext {
    pub(super) fn new(state: Arc<GuardState>) -> Self {
        Self(state)
    }

    pub(super) fn state(&self) -> &GuardState {
        &self.0
    }

    pub(crate) fn signalled(&self) -> Option<LossReason> {
        self.0.signalled()
    }

    pub(crate) async fn lost_by_signal(&self) -> LossReason {
        self.0.lost_by_signal().await
    }

    pub(crate) fn lost_error(&self, reason: LossReason) -> Error {
        self.0.lost_error(reason)
    }

    /// The greatest fencing token of the lock: with one key, that key's.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.0.lease.token()
    }

    /// The fencing token of one key; `None` if the lock doesn't have that key.
    #[must_use]
    pub fn token_of(&self, key: &str) -> Option<FencingToken> {
        self.0.lease.token_of(key)
    }

    /// The lock's keys, owner and tokens: to be told to others. The lock itself is extended and
    /// given back by its guard alone. Who tries that with the lease is refused as *lost* by providers
    /// that pass keys on inside a process, unless it is a client of the guard's own; who isn't refused
    /// cuts the lock short, and the guard learns of it at its next renewal at the latest.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.0.lease
    }

    /// Whether the lock is still held, as far as this process can know: no I/O, two clock readings.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] from the local deadline on, which lies before the
    /// moment at which the store gives the keys to somebody else, or once the loss was signalled.
    pub fn check(&self) -> Result<()> {
        self.0.check()
    }

    /// Waits until the lock is lost: at its local deadline at the latest. Cancellation safe; it can
    /// be awaited again.
    ///
    /// # Panics
    ///
    /// Awaited outside a tokio runtime with its timer enabled.
    pub async fn lost(&self) -> LossReason {
        self.0.lost().await
    }

    /// The time for which the lock is believed in without a further renewal; zero once it is lost.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        if self.0.loss_reason().is_some() { Duration::ZERO } else { self.0.expires_in() }
    }
}

impl fmt::Debug for LockContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LockContext").field(&self.0).finish()
    }
}
