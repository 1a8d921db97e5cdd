use crate::key_set::KeySet;
use crate::loss::LossSignal;
use crate::owner::OwnerId;
use crate::time::{Expiry, WaitUntil};

/// What an acquisition asks of a provider.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AcquireRequest {
    /// The keys to hold: all of them or none.
    pub keys: KeySet,
    /// Who will hold them. `None`: an anonymous holder, which is never re-entered.
    pub owner: Option<OwnerId>,
    /// How long the lease lasts without being extended. `None`: until it is released.
    pub expiry: Option<Expiry>,
    /// Until when to wait for keys that others hold: one deadline for the whole request.
    pub wait: WaitUntil,
    /// What kind of hold this is.
    pub hold: Hold,
}

impl AcquireRequest {
    /// An anonymous lease on these keys that doesn't wait and doesn't expire.
    #[must_use]
    pub fn new(keys: KeySet) -> Self {
        Self { keys, owner: None, expiry: None, wait: WaitUntil::Now, hold: Hold::Lease }
    }

    /// The same for an owner.
    #[must_use]
    pub fn with_owner(self, owner: OwnerId) -> Self {
        Self { owner: Some(owner), ..self }
    }

    /// The same with an expiry.
    #[must_use]
    pub fn with_expiry(self, expiry: Expiry) -> Self {
        Self { expiry: Some(expiry), ..self }
    }

    /// The same, waiting.
    #[must_use]
    pub fn with_wait(self, wait: WaitUntil) -> Self {
        Self { wait, ..self }
    }

    /// The same as the hold of a guard, which `loss` can tell that it is gone.
    #[must_use]
    pub fn with_guard(self, loss: LossSignal) -> Self {
        Self { hold: Hold::Guard(loss), ..self }
    }
}

/// The kind of a hold.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Hold {
    /// Nobody's process's: it ends by release or expiry only, and its owner re-enters it.
    Lease,
    /// A guard's or a running job's: kept alive by its process, never re-entered, freed by
    /// nothing but itself, its expiry, and a `release_all` that includes what runs.
    Guard(LossSignal),
}

impl Hold {
    /// The kind, for reports.
    #[must_use]
    pub fn kind(&self) -> HoldKind {
        match self {
            Self::Lease => HoldKind::Lease,
            Self::Guard(_) => HoldKind::Guard,
        }
    }
}

/// The kind of a hold, as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum HoldKind {
    /// Made by `acquire`.
    Lease,
    /// Made by `lock` or `execute`.
    Guard,
}

/// Which holds a `release_all` frees.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ReleaseScope {
    /// Only those of this owner. `None`: everybody's.
    pub owner: Option<OwnerId>,
    /// Guards and running jobs too.
    pub including_running: bool,
}

impl ReleaseScope {
    /// Every lease, whoever owns it; no guard.
    #[must_use]
    pub fn everybody() -> Self {
        Self::default()
    }

    /// The leases of this owner.
    #[must_use]
    pub fn owner(owner: OwnerId) -> Self {
        Self { owner: Some(owner), including_running: false }
    }

    /// The same with guards and running jobs.
    #[must_use]
    pub fn with_running(self) -> Self {
        Self { including_running: true, ..self }
    }

    /// Whether a hold of this owner and kind falls under the scope.
    #[must_use]
    pub fn covers(&self, owner: Option<&OwnerId>, kind: HoldKind) -> bool {
        (self.including_running || kind == HoldKind::Lease)
            && (self.owner.is_none() || self.owner.as_ref() == owner)
    }
}
