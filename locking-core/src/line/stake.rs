use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::ask::{Ask, Blocked, Manner};
use super::queue::Waiter;
use crate::backoff::Backoff;
use crate::moment::Moment;
use crate::request::{AcquireRequest, Hold};
use crate::session::Session;
use crate::token::FencingToken;

/// How often a line asks again without being told: what makes good for lost notices, for a process
/// stopped at the head of the queue, and for holders that expire.
const LOOK: Duration = Duration::from_millis(500);

/// What a line has at the store: one ask, for whoever is first in the line.
#[derive(Debug)]
pub(super) struct Stake {
    pub(super) ask: Arc<Ask>,
    /// The waiter for whom it is; `None`: for any guard that asks for the same expiry.
    waiter: Option<u64>,
    pub(super) state: StakeState,
    /// Whether it may be at the store without this client having been told so.
    pub(super) unsure: bool,
    /// Whether an earlier ask was never answered: it may still be carried out.
    pub(super) lost: bool,
    /// Whether the store takes nothing for the ask any more, so that the next one needs another name.
    void: bool,
    /// What such an ask may have been granted before is to be given back.
    left_behind: Option<Arc<Ask>>,
    /// State and doubt as they were before the ask that is under way.
    before: Option<(StakeState, bool)>,
    /// The last ask that was answered with *blocked*: before it was sent, and the greatest token then.
    blocked: Option<(Moment, FencingToken)>,
    /// What the store told of a grant.
    pub(super) notice: Option<Granting>,
    /// When to ask again.
    pub(super) look_at: Instant,
    backoff: Backoff,
    looks: Looks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StakeState {
    /// The first in the line asks in its own call.
    Direct,
    /// Not asked for yet.
    New,
    /// Asked for: the next ask repeats it.
    Asked,
}

/// What the store told of a grant from the queue.
#[derive(Clone, Debug)]
pub(super) struct Granting {
    pub(super) token: FencingToken,
    pub(super) term: Duration,
    pub(super) session: Option<Session>,
}

impl Stake {
    pub(super) fn new(ask: Arc<Ask>, waiter: u64, state: StakeState) -> Self {
        let waiter = matches!(ask.request.hold, Hold::Lease).then_some(waiter);
        Self {
            ask,
            waiter,
            state,
            unsure: false,
            lost: false,
            void: false,
            left_behind: None,
            before: None,
            blocked: None,
            notice: None,
            look_at: Instant::now(),
            backoff: Backoff::default(),
            looks: Looks::default(),
        }
    }

    /// Whether what it is granted can go to this waiter.
    pub(super) fn serves(&self, waiter: &Waiter) -> bool {
        match self.waiter {
            Some(number) => waiter.number == number,
            None => {
                matches!(waiter.request.hold, Hold::Guard(_))
                    && waiter.request.expiry == self.ask.request.expiry
            }
        }
    }

    /// From when on one that is asked for directly isn't waited for any more: longer than one that is polled takes to
    /// find out that the store doesn't answer.
    pub(super) fn neglected_from(&self, patience: Duration) -> Instant {
        self.look_at + 4 * patience
    }

    /// When the line asks by itself; `None`: now, as there is news or something to take back.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.notice.is_none() && self.left_behind.is_none()).then_some(self.look_at)
    }

    /// The line asks now; under another name if the store takes nothing for this one any more.
    pub(super) fn asks(&mut self, next_ask: impl FnOnce(&AcquireRequest) -> Ask) -> Manner {
        if std::mem::take(&mut self.void) {
            self.ask = Arc::new(next_ask(&self.ask.request));
        }
        let manner = if self.state == StakeState::New { Manner::Queue } else { Manner::Again };
        self.before = Some((self.state, self.unsure));
        // Dropped half way, it may be at the store.
        self.unsure = true;
        self.notice = None;
        self.state = StakeState::Asked;
        manner
    }

    /// The grant that was told, with the moment from which it counts, if it is newer than the last
    /// answer. One that isn't can be over: a process that was stopped finds it in its socket.
    ///
    /// None if an ask went unanswered: carried out after the hold was given back, it would take the
    /// key once more, for nobody. The grant is asked for then, and the store refuses the earlier one.
    pub(super) fn news(&self) -> Option<(Granting, Moment)> {
        if self.may_come_late() {
            return None;
        }
        let (granting, (from, newest)) = self.notice.as_ref().zip(self.blocked)?;
        (granting.token > newest).then(|| (granting.clone(), from))
    }

    /// Whether it may be carried out after it was taken back.
    pub(super) fn may_come_late(&self) -> bool {
        self.unsure || self.lost
    }

    /// The store answered that somebody else holds the key.
    pub(super) fn blocked(&mut self, sent: Moment, blocked: &Blocked) {
        self.state = StakeState::Asked;
        self.unsure = false;
        self.before = None;
        self.blocked = Some((sent, blocked.newest));
        self.backoff = Backoff::default();
        self.look_at = Instant::now() + self.looks.next(blocked);
    }

    /// The store takes nothing for the ask any more. Where it isn't the first answer, an earlier time may have
    /// left a place in the queue there, or a grant.
    pub(super) fn voided(&mut self) {
        let was_asked = self.before.is_some_and(|before| before != (StakeState::New, false));
        if was_asked || self.lost {
            self.left_behind = Some(Arc::clone(&self.ask));
        }
        (self.state, self.unsure, self.lost, self.void) = (StakeState::New, false, false, true);
        (self.before, self.blocked, self.notice) = (None, None, None);
        self.look_at = Instant::now() + self.backoff.next_delay();
    }

    /// What is to be taken back when nobody wants it any more, and whether it may still be carried out.
    pub(super) fn into_withdrawal(mut self) -> Option<(Arc<Ask>, bool)> {
        if let Some(void) = self.left_behind.take() {
            return Some((void, true));
        }
        let unsure = self.may_come_late();
        (self.state == StakeState::Asked).then_some((self.ask, unsure))
    }

    /// An ask that is void, to be taken back.
    pub(super) fn take_left_behind(&mut self) -> Option<Arc<Ask>> {
        self.left_behind.take()
    }

    /// The store didn't answer. If it is known not to have been asked (not `unsure`), all is as before: a
    /// place in its queue that the line hasn't got yet is at the end.
    pub(super) fn unanswered(&mut self, unsure: bool) {
        let before = self.before.take().unwrap_or((self.state, self.unsure));
        self.lost |= unsure;
        (self.state, self.unsure) = if unsure { (StakeState::Asked, true) } else { before };
        self.look_at = Instant::now() + self.backoff.next_delay();
    }
}

/// When to ask again if nobody tells.
#[derive(Debug, Default)]
pub(super) struct Looks(Option<Backoff>);

impl Looks {
    /// After how long, with this holder.
    pub(super) fn next(&mut self, blocked: &Blocked) -> Duration {
        self.0 = blocked.looks.as_ref().map(|looks| self.0.take().unwrap_or_else(|| looks.clone()));
        let silent = self.0.as_mut().map(Backoff::next_delay);
        let ends_in = blocked.ends_in.map(|left| left + Duration::from_millis(1));
        [silent, ends_in].into_iter().flatten().fold(LOOK, Duration::min)
    }
}
