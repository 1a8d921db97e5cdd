use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use locking_core::{KeySet, LockKey};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::claim::Claim;
use crate::client::Client;
use crate::granted::Granted;
use crate::seat::{Place, Seat};
use crate::shard::OwnerMark;

/// How often a waiter for several keys is passed over before keys are kept for it: what the contract
/// allows between processes.
const PASSES: u32 = 16;

/// For how long they are kept at first; twice as long each further time, so that it comes to be as long as
/// the others hold their keys. It has an end, because what the waiter still lacks may be held for hours,
/// or by somebody who waits for just what is kept.
const KEEPING: Duration = Duration::from_millis(25);

/// How often that time is doubled at most: to 0.8 s, as a waiter that is stopped costs the others less than a second.
const DOUBLINGS: u32 = 5;

/// A request that waits, or that waited and hasn't been told yet what came of it.
///
/// It lies in the shard of the key in whose queue it stands, and is read and changed under the mutex of
/// that shard alone.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) claim: Claim,
    /// Who came first has the smaller one.
    pub(crate) ticket: u64,
    /// That of its owner, if it wants a lease for one.
    pub(crate) mark: Option<OwnerMark>,
    /// The number of its client.
    pub(crate) client: u64,
    several: Option<Box<Several>>,
    state: State,
}

/// What is needed of a waiter for several keys besides.
#[derive(Debug)]
struct Several {
    /// In the queue of which key of its claim it stands.
    at: usize,
    /// Holds with a token from here on up came after it.
    since: u64,
    /// How often it could have had one of its keys, but not all.
    passes: u32,
    /// Until when keys are kept for it on that account.
    keep_until: Option<Instant>,
    /// It can come to stand in a queue that a close has looked at already.
    client: Arc<Client>,
    /// Where its own task finds it.
    place: Arc<Mutex<Place>>,
}

#[derive(Debug)]
enum State {
    /// `look_at` is when it looks whether the holder's time is over.
    Queued { look_at: Option<Instant>, waker: Waker, has_timer: bool },
    /// It isn't in a queue any more.
    Ended(Outcome),
}

/// What came of waiting.
#[derive(Debug)]
pub(crate) enum Outcome {
    Granted(Granted),
    /// The client was closed.
    Closed,
}

/// What a waiter does by itself, as it was found when its task polled it.
#[derive(Debug)]
pub(crate) struct Waits {
    /// When it must wake by itself.
    pub(crate) until: Option<Instant>,
    /// Its former waker, to be dropped under no mutex: that may end a task.
    _replaced: Option<Waker>,
}

impl Waiter {
    /// One that stands in the queue of the key at `at` of its claim, and looks at it at `look_at`. Holds with a token
    /// from `since` on up came after it.
    pub(crate) fn new(
        claim: Claim,
        (ticket, since): (u64, u64),
        mark: Option<OwnerMark>,
        client: &Arc<Client>,
        (at, look_at): (usize, Option<Instant>),
        waker: Waker,
    ) -> Self {
        let several = || {
            let (client, place) = (Arc::clone(client), Arc::default());
            Box::new(Several { at, since, passes: 0, keep_until: None, client, place })
        };
        let several = (claim.keys().len() > 1).then(several);
        let state = State::Queued { look_at, waker, has_timer: false };
        Self { claim, ticket, mark, client: client.number(), several, state }
    }

    /// Notes where it lies from now on. Answers how its own task finds it.
    pub(crate) fn lies_at(&self, place: Place) -> Seat {
        match &self.several {
            None => Seat::Fixed(place),
            Some(several) => {
                *several.place.lock() = place;
                Seat::Moving(Arc::clone(&several.place))
            }
        }
    }

    /// The key in whose queue it stands.
    pub(crate) fn key(&self) -> &LockKey {
        &self.claim.keys()[self.several.as_ref().map_or(0, |several| several.at)]
    }

    pub(crate) fn is_queued(&self) -> bool {
        matches!(self.state, State::Queued { .. })
    }

    /// Whether its client is granted nothing any more, so that it mustn't move to another queue.
    pub(crate) fn is_refused(&self) -> bool {
        self.several.as_ref().is_some_and(|several| several.client.is_refused())
    }

    /// Counts that it was passed over by the holder with this token, if that one came later. From some time on that
    /// gives it a while for which its keys are kept; answers until when.
    pub(crate) fn count_pass(&mut self, token: Option<u64>) -> Option<Instant> {
        let several = self.several.as_mut()?;
        if token.is_none_or(|token| token < several.since) {
            return None;
        }
        several.passes += 1;
        if several.passes > PASSES {
            let doublings = (several.passes - PASSES - 1).min(DOUBLINGS);
            several.keep_until = Some(Instant::now() + KEEPING * 2_u32.pow(doublings));
        }
        several.keep_until.filter(|until| *until > Instant::now())
    }

    /// Its keys, where they may be kept for it, or have been.
    pub(crate) fn kept_keys(&self) -> Option<KeySet> {
        let several = self.several.as_ref();
        several.and_then(|several| several.keep_until).map(|_| self.claim.keys().clone())
    }

    /// Notes that it stands in the queue of another key of its claim now, and when what is in its way there
    /// ends. Answers whom to wake for it: its timer is for the one before.
    pub(crate) fn move_to(&mut self, to: usize, ends: Option<Instant>) -> Option<Waker> {
        let (several, State::Queued { look_at, waker, .. }) =
            (self.several.as_mut()?, &mut self.state)
        else {
            return None;
        };
        (several.at, *look_at) = (to, ends);
        Some(waker.clone())
    }

    /// Ends its wait. Answers whom to wake for it, not under a shard's mutex: that can be a system
    /// call.
    #[must_use]
    pub(crate) fn end(&mut self, outcome: Outcome) -> Option<Waker> {
        match std::mem::replace(&mut self.state, State::Ended(outcome)) {
            State::Queued { waker, .. } => Some(waker),
            State::Ended(_) => None,
        }
    }

    /// Sees to it that it looks at its key at `at`, at the latest.
    pub(crate) fn look_by(&mut self, at: Instant) {
        let deadline = self.claim.deadline();
        let State::Queued { look_at, waker, .. } = &mut self.state else { return };
        let wakes_in_time = earliest(*look_at, deadline).is_some_and(|wakes| wakes <= at);
        if !wakes_in_time {
            *look_at = Some(at);
            // It sets its timer anew.
            waker.wake_by_ref();
        }
    }

    /// Sets when it looks at its key, as it stands there itself.
    pub(crate) fn look_at(&mut self, at: Option<Instant>) {
        if let State::Queued { look_at, .. } = &mut self.state {
            *look_at = at;
        }
    }

    /// Adds its waker if it has no timer and must wake by itself by then. Answers whether it must
    /// later.
    pub(crate) fn remind(&self, by: Option<Instant>, due: &mut Vec<Waker>) -> bool {
        let State::Queued { waker, has_timer: false, .. } = &self.state else { return false };
        let Some(wakes_at) = self.wakes_at() else { return false };
        let is_due = by.is_none_or(|by| wakes_at <= by);
        due.extend(is_due.then(|| waker.clone()));
        !is_due
    }

    /// When it must wake by itself.
    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        let State::Queued { look_at, .. } = self.state else { return None };
        earliest(look_at, self.claim.deadline())
    }

    /// How it waits, unless its wait is over. Its task is woken when that changes.
    pub(crate) fn poll(&mut self, context: &Context<'_>, is_timed: bool) -> Option<Waits> {
        let until = self.wakes_at();
        let State::Queued { waker, has_timer, .. } = &mut self.state else { return None };
        *has_timer = is_timed;
        let replaced = (!waker.will_wake(context.waker()))
            .then(|| std::mem::replace(waker, context.waker().clone()));
        Some(Waits { until, _replaced: replaced })
    }

    /// What it wanted, and what came of its wait; `None` while it waits.
    pub(crate) fn outcome(&mut self) -> (&Claim, Option<&mut Outcome>) {
        match &mut self.state {
            State::Queued { .. } => (&self.claim, None),
            State::Ended(outcome) => (&self.claim, Some(outcome)),
        }
    }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
