use locking_core::{
    FencingToken, HoldKind, Lease, LeasedKey, LockInfo, LockKey, LossSignal, OwnerId,
};
use tokio::time::Instant;

use crate::claim::Now;

/// Who holds a key.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) owner: Option<OwnerId>,
    pub(crate) token: u64,
    /// When it ends by itself; `None`: never.
    pub(crate) expires: Option<Instant>,
    /// A guard's line to its process.
    pub(crate) guard: Option<LossSignal>,
    /// Whether another request of its owner was granted it too: then it stays when the request that
    /// took it never learns of that.
    pub(crate) is_shared_by_now: bool,
}

impl Holder {
    pub(crate) fn kind(&self) -> HoldKind {
        if self.guard.is_some() { HoldKind::Guard } else { HoldKind::Lease }
    }

    /// Whether its owner's other requests share the hold.
    pub(crate) fn is_shared(&self) -> bool {
        self.guard.is_none() && self.owner.is_some()
    }

    /// Whether it is the hold that this key of a lease is about, and no successor.
    pub(crate) fn is_of(&self, lease: &Lease, leased: &LeasedKey) -> bool {
        self.token == leased.token.get() && self.owner == lease.owner
    }

    pub(crate) fn has_expired(&self, now: &Now) -> bool {
        self.expires.is_some_and(|expires| expires <= now.get())
    }

    /// Re-entry: a longer expiry extends, a shorter or absent one changes nothing.
    pub(crate) fn prolong(&mut self, expires: Option<Instant>) {
        if let (Some(current), Some(wanted)) = (&mut self.expires, expires) {
            *current = wanted.max(*current);
        }
    }

    pub(crate) fn info(&self, key: &LockKey, waiters: usize, now: &Now) -> LockInfo {
        let left = self.expires.map(|expires| expires.saturating_duration_since(now.get()));
        LockInfo::new(key.clone(), FencingToken::new(self.token), self.kind())
            .with_owner(self.owner.clone())
            .with_expires_in(left)
            .with_waiters(waiters)
    }
}
