use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::key::LockKey;
use crate::lease::{Lease, lease_event};
use crate::loss::{LossReason, LossSignal};
use crate::moment::Moment;
use crate::provider::LockingProvider;
use crate::session::Session;
use crate::time::Expiry;

/// How often a deadline is looked at by a clock that counts suspend: timers don't.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// When a grant that is shorter than its lease until it is renewed, is renewed. Soon, because a machine that
/// stands still for a moment before that loses it; but not before the shortest jobs are over, which need none.
pub(super) const CONFIRMATION: Duration = Duration::from_millis(10);

/// The shortest lease of a guard: below it, a busy machine's scheduling eats the time for renewal.
pub(crate) const LEAST_LEASE: Duration = Duration::from_millis(50);

/// What a guard, its renewal and the contexts of its job share: the hold, and how long it is
/// believed in.
pub(crate) struct GuardState {
    pub(crate) provider: Arc<dyn LockingProvider>,
    pub(crate) lease: Lease,
    /// How long the lease lasts after each renewal.
    pub(crate) expiry: Expiry,
    /// How long it lasts until the first renewal.
    first_term: Duration,
    /// The local deadline, as the bits of a [`Moment`].
    valid_until: AtomicU64,
    pub(crate) loss: LossSignal,
    session: Option<Session>,
    /// The key that a renewal found lost; without one, all of them are.
    lost_key: OnceLock<LockKey>,
    /// Given back, or about to be: nothing renews it any more.
    ended: AtomicBool,
    /// Whoever looks after the program was told that it is lost, or isn't to be told.
    warned: AtomicBool,
    /// A close broke it, and has done what it could to give it back.
    broken: AtomicBool,
    /// When it is due for renewal, in the keeper's own count. Read and written under its lock.
    pub(super) due: AtomicU64,
}

impl GuardState {
    pub(crate) fn new(
        provider: Arc<dyn LockingProvider>,
        grant: Grant,
        expiry: Expiry,
        asked: Moment,
        loss: LossSignal,
    ) -> Self {
        let first_term = grant.term.unwrap_or(expiry.get());
        let valid_until = local_deadline(grant.counted_from.unwrap_or(asked), first_term);
        Self {
            provider,
            lease: grant.lease,
            expiry,
            first_term,
            valid_until: AtomicU64::new(valid_until.to_bits()),
            loss,
            session: grant.session,
            lost_key: OnceLock::new(),
            ended: AtomicBool::new(false),
            warned: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            due: AtomicU64::new(u64::MAX),
        }
    }

    /// Whether so much of the lease has gone that a fresh grant could be stale: then it is
    /// confirmed by a renewal before anybody believes in it.
    pub(crate) fn needs_confirmation(&self, now: Moment) -> bool {
        self.lease_until().saturating_since(now) < self.first_term / 2
    }

    /// After how long it is renewed for the first time. A grant that has to be confirmed even before has its
    /// whole lease from then on.
    pub(super) fn first_pause(&self, now: Instant) -> Duration {
        if self.first_term < self.expiry.get() && !self.needs_confirmation(Moment::of(now)) {
            CONFIRMATION.min(self.first_term / 10)
        } else {
            self.expiry.get() / 3
        }
    }

    /// Sets the lease's time once more, and the local deadline with it.
    pub(crate) async fn renew(&self) -> Result<()> {
        let asked = Moment::now();
        self.provider.extend(&self.lease, self.expiry).await?;
        self.valid_until
            .store(local_deadline(asked, self.expiry.get()).to_bits(), Ordering::Release);
        Ok(())
    }

    /// Why the hold is gone, if it is. No I/O.
    pub(crate) fn loss_reason(&self) -> Option<LossReason> {
        if let Some(reason) = self.signalled() {
            return Some(reason);
        }
        let session = self.session.as_ref();
        // Each is read once: a late renewal may come through meanwhile.
        let (now, lease) = (Moment::now(), self.lease_until());
        let reason = if lease <= now {
            LossReason::Expired
        } else if session.is_some_and(|session| session.valid_until() <= now) {
            LossReason::SessionEnded
        } else {
            return None;
        };
        // Final from here on.
        self.loss.signal(reason);
        self.loss.reason()
    }

    /// The same as far as it was signalled: no clock is read.
    pub(crate) fn signalled(&self) -> Option<LossReason> {
        let ended = || self.session.as_ref().and_then(|session| session.ended().reason());
        self.loss.reason().or_else(ended)
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.loss_reason().map_or(Ok(()), |reason| Err(self.lost_error(reason)))
    }

    /// Waits until the hold is gone: by a signal, or by its local deadline.
    pub(crate) async fn lost(&self) -> LossReason {
        loop {
            if let Some(reason) = self.loss_reason() {
                return reason;
            }
            let session_ended = async {
                match &self.session {
                    Some(session) => session.ended().wait().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                reason = self.loss.wait() => return reason,
                reason = session_ended => return reason,
                // A renewal may move the deadline meanwhile, and suspend brings it nearer than this
                // timer knows: it is read again.
                () = sleep(self.expires_in().min(LOOK)) => {}
            }
        }
    }

    /// The same for whoever runs on the keeper's runtime, without a timer of its own: the renewal
    /// that the keeper starts in time signals the local deadline too, whatever the provider does.
    pub(crate) async fn lost_by_signal(&self) -> LossReason {
        if self.session.is_some() { self.lost().await } else { self.loss.wait().await }
    }

    /// The time for which the hold is believed in without a further renewal or heartbeat.
    pub(crate) fn expires_in(&self) -> Duration {
        self.valid_until().saturating_since(Moment::now())
    }

    pub(crate) fn valid_until(&self) -> Moment {
        let lease = self.lease_until();
        self.session.as_ref().map_or(lease, |session| lease.min(session.valid_until()))
    }

    /// The same by the lease alone, whatever session it hangs on.
    fn lease_until(&self) -> Moment {
        Moment::from_bits(self.valid_until.load(Ordering::Acquire))
    }

    /// Nobody is told that it is lost while this is so: nobody has it yet.
    pub(super) fn is_not_told_of(&self, is_so: bool) {
        self.warned.store(is_so, Ordering::Relaxed);
    }

    /// Tells whoever looks after the program that it is lost, once. `found`: why, unless that was signalled before.
    pub(super) fn warn_lost(&self, found: LossReason) {
        let signalled = self.loss.reason().filter(|reason| *reason != LossReason::Released);
        let reason = signalled.unwrap_or(found);
        // The close that broke it tells of that.
        if reason == LossReason::Closed || self.warned.swap(true, Ordering::Relaxed) {
            return;
        }
        lease_event!(warn, self.lease, %reason, "a lock is lost while its guard is in use");
    }

    pub(crate) fn note_lost_key(&self, key: LockKey) {
        // Only the first one found counts.
        let _ = self.lost_key.set(key);
    }

    pub(crate) fn lost_error(&self, reason: LossReason) -> Error {
        let key = self.lost_key.get().unwrap_or(&self.lease.keys()[0].key);
        Error::lost(&self.lease.provider, key.clone(), reason)
    }

    /// Stops renewals for good: it is given back now. A context that outlives it knows.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        // A session says by itself that it has ended: that came first.
        self.loss.signal(self.signalled().unwrap_or(LossReason::Released));
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Leaves nothing to do for a further close, also while the guard isn't dropped yet.
    pub(crate) fn note_broken(&self) {
        self.broken.store(true, Ordering::Release);
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }
}

impl fmt::Debug for GuardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("lease", &self.lease)
            .field("lost", &self.loss_reason())
            .finish_non_exhaustive()
    }
}

/// Until when a lease counted from `from` is believed in: its length less a margin for clocks that
/// run at different rates, a hundredth and 2 ms, as in the Redlock algorithm's drift factor.
fn local_deadline(from: Moment, term: Duration) -> Moment {
    let margin = term / 100 + Duration::from_millis(2);
    from.saturating_add(term.saturating_sub(margin))
}
