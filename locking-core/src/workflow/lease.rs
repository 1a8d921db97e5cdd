use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::lease::Lease;
use crate::module::LockingModule;
use crate::token::FencingToken;

/// What an [`AcquireLockStep`](super::AcquireLockStep) answers, for the later steps and for its
/// compensation: plain serialisable data.
///
/// Its lease counts those keys as *taken* that the step has to give back. Keys that it entered again,
/// because an earlier step or a workflow around this one holds them, are in the lease too, with their
/// tokens, and stay theirs.
///
/// ```
/// # use locking_core::*;
/// # use locking_core::workflow::*;
/// # use std::time::Duration;
/// # async fn example(module: LockingModule, lease: StepLease) -> Result<()> {
/// // Sent along with every access, reads too, so that what the lock protects can refuse an old one.
/// let token = lease.token_of("order_7").expect("a key of the step");
///
/// // A workflow that is going to take longer asks for more time.
/// lease.extend(&module, Duration::from_secs(60)).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepLease {
    // Data without it isn't a step that was skipped, but something else.
    #[serde(deserialize_with = "Option::deserialize")]
    lease: Option<Lease>,
}

impl StepLease {
    /// The lease; `None` where the step was skipped in a nested workflow.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// The token of a key; `None` if the step was skipped, or didn't name that key.
    #[must_use]
    pub fn token_of(&self, key: &str) -> Option<FencingToken> {
        self.lease()?.token_of(key)
    }

    /// Sets the remaining time of all keys of the lease, those of an earlier step or a workflow around this
    /// one too: also to less. So it tells whether the lease is still held. Nothing where the step was
    /// skipped.
    ///
    /// # Errors
    ///
    /// Those of [`LockingModule::extend`]: [`Error::Lost`](crate::Error::Lost), with nothing changed, if a key
    /// isn't held any more.
    ///
    /// # Cancellation safety
    ///
    /// Dropped at any await point, the lease may be extended or not.
    pub async fn extend(&self, module: &LockingModule, ttl: Duration) -> Result<()> {
        match self.lease() {
            Some(lease) => module.extend(lease, ttl).await,
            None => Ok(()),
        }
    }

    /// The compensation of the acquire step: gives back exactly what it took. Never what was taken
    /// by somebody else after a release or an expiry, never what an earlier step or a workflow around
    /// this one holds; nothing where the step was skipped.
    ///
    /// Answers whether all of it was still held: `false` after a release or an expiry, also when it
    /// is called again; `true` where there was nothing to give back. Either way there is nothing left
    /// to do.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`](crate::Error::Unavailable) or
    ///   [`Error::UnknownOutcome`](crate::Error::UnknownOutcome) if the store didn't answer: call it
    ///   again, or let the lease end by its `ttl`.
    /// - [`Error::Closed`](crate::Error::Closed) if the provider is closed.
    /// - [`Error::Configuration`](crate::Error::Configuration) if the lease's provider isn't
    ///   configured here.
    ///
    /// # Cancellation safety
    ///
    /// Dropped at any await point, the keys may be given back or not; calling it again does no harm.
    pub async fn compensate(&self, module: &LockingModule) -> Result<bool> {
        match self.lease() {
            Some(lease) if lease.taken().next().is_some() => module.release_lease(lease).await,
            _ => Ok(true),
        }
    }

    /// What a skipped step answers.
    pub(super) const fn skipped() -> Self {
        Self { lease: None }
    }
}

/// A lease that a step took by calling the module itself, with the run's owner.
impl From<Lease> for StepLease {
    fn from(lease: Lease) -> Self {
        Self { lease: Some(lease) }
    }
}
