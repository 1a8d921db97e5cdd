use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::loss::{LossReason, LossSignal};
use crate::moment::Moment;

/// A process's session with a store, on which holds of guards hang besides their leases: all of them
/// end with it, so that a dead process's guards needn't wait for the end of their leases.
///
/// A provider keeps one per session, moves its deadline with each heartbeat that was answered, and
/// attaches it to the grants that it carries ([`Grant::with_session`](crate::Grant::with_session)).
///
/// # Contract
///
/// The deadline must lie below every bound of the server's side after which it ends the session,
/// counted from before the heartbeat was sent: a guard believes in its hold until then, without I/O.
#[derive(Clone, Debug)]
pub struct Session(Arc<State>);

#[derive(Debug)]
struct State {
    valid_until: AtomicU64,
    ended: LossSignal,
}

impl Session {
    /// A session that is alive until this moment, unless a heartbeat moves it.
    #[must_use]
    pub fn new(valid_until: Moment) -> Self {
        Self(Arc::new(State {
            valid_until: AtomicU64::new(valid_until.to_bits()),
            ended: LossSignal::new(),
        }))
    }

    /// Moves the deadline: a heartbeat was answered.
    pub fn prolong(&self, valid_until: Moment) {
        self.0.valid_until.fetch_max(valid_until.to_bits(), Ordering::AcqRel);
    }

    /// Ends the session: every guard on it is lost now.
    pub fn end(&self) {
        self.0.ended.signal(LossReason::SessionEnded);
    }

    /// Until when the session is believed to be alive.
    #[must_use]
    pub fn valid_until(&self) -> Moment {
        Moment::from_bits(self.0.valid_until.load(Ordering::Acquire))
    }

    /// Whether it is believed to be alive.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.0.ended.reason().is_none() && Moment::now() < self.valid_until()
    }

    pub(crate) fn ended(&self) -> &LossSignal {
        &self.0.ended
    }
}
