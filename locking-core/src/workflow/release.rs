use serde::{Deserialize, Serialize};

use super::lease::StepLease;
use super::run::WorkflowRun;
use super::written;
use crate::error::Result;
use crate::key_set::KeySet;
use crate::lease::{Lease, LeasedKey};
use crate::module::LockingModule;

/// The step that gives back what an [`AcquireLockStep`](super::AcquireLockStep) took, as data.
///
/// It needs no compensation: once the work is done, giving back the lock isn't undone.
///
/// ```
/// # use locking_core::*;
/// # use locking_core::workflow::*;
/// # async fn example(module: LockingModule, run: WorkflowRun, lease: StepLease) -> Result<()> {
/// let release = ReleaseLockStep::new(lease);
/// if !release.invoke(&module, &run).await? {
///     // The lease had ended before: somebody else may have worked meanwhile.
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ReleaseLockStep {
    /// What the acquire step answered.
    pub lease: StepLease,
    /// Which of its keys to give back; also written `key`, and one key without brackets. Default:
    /// all of them.
    #[serde(default, alias = "key")]
    pub keys: Option<KeySet>,
    /// Whether the step does anything in a nested workflow. Default: `true`.
    #[serde(default = "written::yes")]
    pub execute_on_sub_workflow: bool,
}

impl ReleaseLockStep {
    /// Gives back all that the acquire step took.
    #[must_use]
    pub fn new(lease: StepLease) -> Self {
        Self { lease, keys: None, execute_on_sub_workflow: true }
    }

    /// The same for some of the keys only.
    #[must_use]
    pub fn with_keys(self, keys: KeySet) -> Self {
        Self { keys: Some(keys), ..self }
    }

    /// The same, and whether it does anything in a nested workflow.
    #[must_use]
    pub fn with_execute_on_sub_workflow(self, execute: bool) -> Self {
        Self { execute_on_sub_workflow: execute, ..self }
    }

    /// Gives the keys back, those that the step took and nobody else's; what a workflow around this
    /// one holds is left to it, also where it is that one's lease.
    ///
    /// Answers whether all of it was still held: `false` after an expiry or a release, so also when
    /// the step is replayed, and where [`keys`](Self::keys) names one that the lease doesn't have;
    /// `true` where there was nothing to give back.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`](crate::Error::Unavailable) or
    ///   [`Error::UnknownOutcome`](crate::Error::UnknownOutcome) if the store didn't answer: invoke
    ///   it again, or let the lease end by its `ttl`.
    /// - [`Error::Closed`](crate::Error::Closed) if the provider is closed.
    /// - [`Error::Configuration`](crate::Error::Configuration) if the lease's provider isn't
    ///   configured here.
    ///
    /// # Cancellation safety
    ///
    /// Dropped at any await point, the keys may be given back or not; invoking it again does no
    /// harm.
    pub async fn invoke(&self, module: &LockingModule, run: &WorkflowRun) -> Result<bool> {
        let Some(lease) = self.lease.lease() else { return Ok(true) };
        if run.is_nested() && !self.execute_on_sub_workflow {
            return Ok(true);
        }
        let released = self.given_back(lease, run).compensate(module).await?;
        Ok(released && self.names_only_keys_of(lease))
    }

    /// The part of the lease that is to be given back.
    fn given_back(&self, lease: &Lease, run: &WorkflowRun) -> StepLease {
        let meant = |leased: &&LeasedKey| {
            let named = self.keys.as_ref().is_none_or(|keys| keys.contains(&leased.key));
            named && !run.inherits(lease, leased)
        };
        let keys: Vec<_> = lease.taken().filter(meant).cloned().collect();
        Lease::new(lease.provider.clone(), lease.owner.clone(), keys).into()
    }

    fn names_only_keys_of(&self, lease: &Lease) -> bool {
        let named = self.keys.iter().flat_map(|keys| keys.iter());
        named.into_iter().all(|key| lease.token_of(key.as_str()).is_some())
    }
}
