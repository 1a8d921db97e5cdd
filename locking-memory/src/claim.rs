use locking_core::{AcquireRequest, Expiry, Hold, KeySet, LossSignal, OwnerId};
use tokio::time::Instant;

use crate::holder::Holder;

/// What an acquisition wants, whether it is served at once or waits in a queue.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) keys: KeySet,
    owner: Option<OwnerId>,
    expiry: Option<Expiry>,
    /// A guard's line to its process; with one it is neither re-entered nor re-enters.
    guard: Option<LossSignal>,
}

impl Claim {
    pub(crate) fn new(request: AcquireRequest) -> Self {
        let guard = match request.hold {
            Hold::Guard(loss) => Some(loss),
            _ => None,
        };
        Self { keys: request.keys, owner: request.owner, expiry: request.expiry, guard }
    }

    pub(crate) fn owner(&self) -> Option<&OwnerId> {
        self.owner.as_ref()
    }

    /// Whether a hold is the claimant's own: a lease under the same owner.
    pub(crate) fn reenters(&self, holder: &Holder) -> bool {
        self.guard.is_none()
            && holder.guard.is_none()
            && self.owner.is_some()
            && self.owner == holder.owner
    }

    /// Whether others may be granted a key together with this claim.
    pub(crate) fn shares(&self) -> bool {
        self.guard.is_none() && self.owner.is_some()
    }

    pub(crate) fn is_guard(&self) -> bool {
        self.guard.is_some()
    }

    /// When a hold that begins now ends by itself.
    pub(crate) fn expires(&self, now: &Now) -> Option<Instant> {
        self.expiry.map(|expiry| now.get() + expiry.get())
    }

    pub(crate) fn holder(&self, token: u64, expires: Option<Instant>) -> Holder {
        Holder::new(self.owner.clone(), token, expires, self.guard.clone())
    }
}

/// The present moment, read once and only if anybody asks.
#[derive(Debug, Default)]
pub(crate) struct Now(std::cell::Cell<Option<Instant>>);

impl Now {
    pub(crate) fn get(&self) -> Instant {
        self.0.get().unwrap_or_else(|| {
            let now = Instant::now();
            self.0.set(Some(now));
            now
        })
    }
}
