use serde::{Deserialize, Serialize};

use super::lease::StepLease;
use super::run_id::RunId;
use crate::invalid::InvalidInput;
use crate::lease::{Lease, LeasedKey};
use crate::owner::OwnerId;

/// One run of a workflow, as its locking steps see it: whose the keys are, and which of them it holds
/// already.
///
/// It is plain serialisable data: make it at the start of the workflow, or in each step anew from the
/// engine's own id of the run, and hand it to nested workflows with their parameters.
///
/// ```
/// # use locking_core::*;
/// # use locking_core::workflow::*;
/// # use std::time::Duration;
/// # async fn example(module: LockingModule) -> Result<()> {
/// let run = WorkflowRun::new("order_7-1")?;
/// assert_eq!(run.owner().as_str(), "workflow/order_7-1");
///
/// let minute = Duration::from_secs(60);
/// let order = AcquireLockStep::new("order_7", minute)?.invoke(&module, &run).await?;
///
/// // A nested workflow enters the order's key again, and leaves it to this one.
/// let nested = run.nested([&order]);
/// let both = AcquireLockStep::new(["order_7", "stock_1"], minute)?;
/// let both = both.invoke(&module, &nested).await?;
/// assert!(ReleaseLockStep::new(both).invoke(&module, &nested).await?); // "stock_1" alone
/// # Ok(()) }
/// ```
///
/// # What a run doesn't exclude
///
/// All steps of a run, nested ones too, are one owner: they enter each other's keys. Two steps, or two
/// nested workflows, of one run that may run at the same time must not lock the same key; and an
/// engine must not have two processes execute one run at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowRun {
    id: RunId,
    /// What the workflows around this one hold. `None`: there is none around it.
    // Without it, a nested workflow would pass for one that isn't.
    #[serde(deserialize_with = "Option::deserialize")]
    inherited: Option<Vec<Lease>>,
    /// What earlier steps of this workflow hold.
    held: Vec<Lease>,
}

impl WorkflowRun {
    /// The longest id of a run, in bytes.
    pub const MAX_ID_LEN: usize = RunId::MAX_LEN;

    /// The run of a workflow that isn't nested in another one. Its id must be the same when the run
    /// is resumed after a crash, and different for every other run.
    ///
    /// # Errors
    ///
    /// [`InvalidInput::RunId`] if the id is empty, longer than [`Self::MAX_ID_LEN`] bytes, or has a
    /// NUL in it.
    pub fn new(id: impl AsRef<str>) -> Result<Self, InvalidInput> {
        Ok(Self { id: RunId::new(id.as_ref())?, inherited: None, held: Vec::new() })
    }

    /// The run of a workflow nested in this one: the same owner. `leases` are what this one holds
    /// while the nested one runs; the keys in them stay this one's, whatever the nested one does.
    ///
    /// A key whose lease isn't named here is taken for the nested workflow's own, of an earlier attempt: it
    /// would be given back, and taken anew.
    #[must_use]
    pub fn nested<'a>(&self, leases: impl IntoIterator<Item = &'a StepLease>) -> Self {
        let mut inherited = self.inherited.clone().unwrap_or_default();
        inherited.extend_from_slice(&self.held);
        inherited.extend(leases.into_iter().filter_map(StepLease::lease).cloned());
        Self { id: self.id.clone(), inherited: Some(inherited), held: Vec::new() }
    }

    /// The same run in a step that comes after one which took `lease` and hasn't given it back: keys
    /// that both steps name stay the earlier one's.
    #[must_use]
    pub fn holding(&self, lease: &StepLease) -> Self {
        let mut run = self.clone();
        run.held.extend(lease.lease().cloned());
        run
    }

    /// The id of the run; that of a nested one is the outermost workflow's.
    #[must_use]
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// Who holds what the run locks: `workflow/` and the id.
    #[must_use]
    pub fn owner(&self) -> &OwnerId {
        self.id.owner()
    }

    /// Whether this is a workflow within another one.
    #[must_use]
    pub fn is_nested(&self) -> bool {
        self.inherited.is_some()
    }

    /// Whether this hold of a key is one of the workflows around this one.
    pub(super) fn inherits(&self, lease: &Lease, leased: &LeasedKey) -> bool {
        self.inherited.iter().flatten().any(|other| is_of(other, lease, leased))
    }

    /// What is to be given up of a lease because this run holds a part of it without any step of it being
    /// known to: an earlier attempt of the step that asks now took that. With it goes what was taken now.
    /// `None` if there is no such part.
    pub(super) fn left_behind(&self, lease: &Lease) -> Option<StepLease> {
        // An owner that the program named may be another run's too: what it holds isn't known to be
        // this run's.
        if lease.owner.as_ref() != Some(self.owner()) {
            return None;
        }
        let is_known = |leased: &LeasedKey| {
            let held = self.held.iter().any(|other| is_of(other, lease, leased));
            held || self.inherits(lease, leased)
        };
        let is_ours = |leased: &&LeasedKey| leased.taken || !is_known(leased);
        let ours: Vec<_> = lease.keys().iter().filter(is_ours).collect();
        if ours.iter().all(|leased| leased.taken) {
            return None;
        }
        let ours = ours.into_iter().map(|leased| LeasedKey { taken: true, ..leased.clone() });
        Some(Lease::new(lease.provider.clone(), lease.owner.clone(), ours).into())
    }
}

/// Whether `leased`, a key of `lease`, is the same hold as in the `other` lease: with another token it
/// is a later one.
fn is_of(other: &Lease, lease: &Lease, leased: &LeasedKey) -> bool {
    other.provider == lease.provider && other.token_of(leased.key.as_str()) == Some(leased.token)
}
