use locking_core::{AcquireRequest, Hold, KeySet, LossSignal, OwnerId, WaitUntil};
use tokio::time::Instant;

use crate::holder::Holder;

/// What an acquisition wants, whether it is served at once or waits in a queue.
///
/// The request as it came: to take it apart, each call would pay for its moves.
#[derive(Clone, Debug)]
pub(crate) struct Claim(AcquireRequest);

impl Claim {
    pub(crate) fn new(request: AcquireRequest) -> Self {
        Self(request)
    }

    pub(crate) fn keys(&self) -> &KeySet {
        &self.0.keys
    }

    pub(crate) fn owner(&self) -> Option<&OwnerId> {
        self.0.owner.as_ref()
    }

    pub(crate) fn wait(&self) -> WaitUntil {
        self.0.wait
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.wait.instant()
    }

    /// A guard's line to its process; with one it is neither re-entered nor re-enters.
    fn guard(&self) -> Option<&LossSignal> {
        match &self.0.hold {
            Hold::Guard(loss) => Some(loss),
            _ => None,
        }
    }

    /// Whether a hold is the claimant's own: a lease under the same owner.
    pub(crate) fn reenters(&self, holder: &Holder) -> bool {
        self.shares() && holder.guard.is_none() && self.0.owner == holder.owner
    }

    /// Whether others may be granted a key together with this claim.
    pub(crate) fn shares(&self) -> bool {
        !self.is_guard() && self.0.owner.is_some()
    }

    pub(crate) fn is_guard(&self) -> bool {
        self.guard().is_some()
    }

    /// When a hold that begins now ends by itself.
    pub(crate) fn expires(&self, now: &Now) -> Option<Instant> {
        self.0.expiry.map(|expiry| now.get() + expiry.get())
    }

    pub(crate) fn holder(&self, token: u64, expires: Option<Instant>) -> Holder {
        Holder::new(self.0.owner.clone(), token, expires, self.guard().cloned())
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
