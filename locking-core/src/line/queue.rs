use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::agent::Agent;
use super::ask::{Answer, Ask, AskId, Manner};
use super::held::Held;
use super::several::Inbox;
use super::stake::{Granting, Stake, StakeState};
use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::key::LockKey;
use crate::lease::Lease;
use crate::moment::Moment;
use crate::owner::OwnerId;
use crate::provider_id::ProviderId;
use crate::request::{AcquireRequest, Hold};

/// After how long the store is told who holds a key that was passed on. Shorter holds it never knows:
/// telling it of each would cost as much as giving the key back.
const RENAME: Duration = Duration::from_millis(2);

/// What this client has to do with one key: the guard that holds it, and the line of those who wait.
#[derive(Debug, Default)]
pub(super) struct LocalQueue {
    pub(super) held: Option<Held>,
    /// First come, first served.
    pub(super) waiters: VecDeque<Waiter>,
    /// Those who gave up, and wait to hear that the store has forgotten them.
    pub(super) leaving: Vec<Answering>,
    pub(super) stake: Option<Stake>,
    /// The task that speaks to the store for the line.
    pub(super) agent: Option<Agent>,
    /// Requests for several keys that wait for this one too, each with a place of its own at the
    /// store. While there are some, the key isn't passed on past them.
    pub(super) several: usize,
    /// Where they are told.
    pub(super) inboxes: Vec<Arc<Inbox>>,
    /// Why the store was last asked in vain.
    trouble: Option<Arc<Error>>,
    /// Waiters whose owner may hold the key by now.
    reentering: Vec<u64>,
}

/// How a waiter is answered.
pub(super) type Answering = oneshot::Sender<Result<Grant>>;

/// A request that waits in line.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) number: u64,
    pub(super) request: AcquireRequest,
    pub(super) tell: Answering,
}

/// What the agent of a line does next.
#[derive(Debug)]
pub(super) enum Step {
    /// Also whether the answer to an earlier time was lost.
    Ask(Arc<Ask>, Manner, bool),
    /// Takes an ask back; then those who left are told so.
    Withdraw {
        ask: Arc<Ask>,
        unsure: bool,
        leaving: Vec<Answering>,
    },
    /// Asks for waiters whose owner holds the key.
    Reenter(Vec<(u64, AcquireRequest)>),
    /// Tells the store who holds the key.
    Rename(AskId, Lease),
    Sleep(Instant),
    /// Nothing is left to do: the agent has left the line.
    Leave,
}

/// How a waiter that gives up leaves the line.
pub(super) enum Leaving {
    /// It was answered already; the answer is in its channel.
    Answered,
    /// Nothing of it is at the store.
    Gone,
    /// The agent takes its ask back, and then answers.
    Withdrawn,
}

impl LocalQueue {
    /// Whether nobody here has to do with the key.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_none()
            && self.waiters.is_empty()
            && self.leaving.is_empty()
            && self.stake.is_none()
            && self.agent.is_none()
            && self.several == 0
    }

    /// Whether the next request may ask the store itself: nobody in this process is before it.
    pub(super) fn is_idle(&self) -> bool {
        self.waiters.is_empty()
            && self.leaving.is_empty()
            && self.stake.is_none()
            && self.agent.as_ref().is_none_or(Agent::is_asleep)
            && self.held.is_none()
    }

    /// Whether the first in the line asks in its own call.
    pub(super) fn is_asked_for_directly(&self) -> bool {
        self.direct().is_some()
    }

    /// What the first in the line asks for in its own call.
    fn direct(&self) -> Option<&Stake> {
        self.stake.as_ref().filter(|stake| stake.state == StakeState::Direct)
    }

    /// Whether this is what the line has at the store.
    pub(super) fn is_asked_by(&self, ask: &Arc<Ask>) -> bool {
        self.stake.as_ref().is_some_and(|stake| Arc::ptr_eq(&stake.ask, ask))
    }

    /// Takes over the ask of the first in the line, which has become a waiter like others.
    pub(super) fn take_over(
        &mut self,
        ask: &Arc<Ask>,
        sent: Moment,
        answer: Option<Result<Answer>>,
        provider: &ProviderId,
        key: &LockKey,
    ) {
        let Some(stake) = &mut self.stake else { return };
        stake.state = StakeState::New;
        match answer {
            Some(answer) => self.answered(ask, sent, answer, provider, key),
            // The deadline came first.
            None => stake.unanswered(true),
        }
        self.believe(provider, key);
    }

    /// The agent broke off. All who wait hear of it; answers what is to be taken back at the store.
    pub(super) fn desert(&mut self, provider: &ProviderId) -> Option<(Arc<Ask>, bool)> {
        self.agent = None;
        let waiting = self.waiters.drain(..).map(|waiter| waiter.tell);
        for tell in waiting.chain(self.leaving.drain(..)) {
            let _ = tell.send(Err(deserted(provider)));
        }
        let stake = self.stake.take_if(|stake| stake.state != StakeState::Direct);
        stake.and_then(Stake::into_withdrawal)
    }

    /// What the store told of a grant to the line's ask. Answers whether it was this line's.
    pub(super) fn notice(
        &mut self,
        id: &str,
        granting: Granting,
        provider: &ProviderId,
        key: &LockKey,
    ) -> bool {
        if let Some(stake) = self.stake.as_mut().filter(|stake| stake.ask.id.as_str() == id) {
            stake.notice = Some(granting);
            if stake.state != StakeState::Direct {
                self.believe(provider, key);
                self.rouse_agent();
            }
            return true;
        }
        let inbox = self.inboxes.iter().find(|inbox| inbox.id.as_str() == id);
        inbox.inspect(|inbox| inbox.noticed.notify_one()).is_some()
    }

    /// Gives a guard at the head of the line the key that the line was granted, if the grant is so
    /// fresh that it needn't be confirmed first. Leases are confirmed always: they are to be as long
    /// as was asked.
    fn believe(&mut self, provider: &ProviderId, key: &LockKey) {
        let Some(stake) = &self.stake else { return };
        let Some((granting, from)) = stake.news() else { return };
        let Granting { token, term, session } = granting;
        let held = Held::new(&stake.ask, token, from, Some(term), session);
        let Some(held) = held.filter(Held::is_fresh) else { return };
        if self.waiters.front().is_some_and(|head| stake.serves(head)) {
            self.stake = None;
            if self.hold(held).is_none() {
                self.give_to_head(provider, key);
            }
        }
    }

    /// Knows a guard from here on. The store has nothing left of one before, or it wouldn't have granted the key.
    /// Answers a guard that was heard of so late that the store has granted the key anew: it has ended.
    #[must_use]
    pub(super) fn hold(&mut self, held: Held) -> Option<Held> {
        if self.held.as_ref().is_some_and(|newer| newer.was_granted_after(&held)) {
            return Some(held);
        }
        if let Some(before) = self.held.replace(held) {
            if before.forget_at().is_some() {
                // It sleeps until then.
                self.wake_agent();
            }
            before.superseded();
        }
        None
    }

    /// Gives the key that is held to the head of the line.
    fn give_to_head(&mut self, provider: &ProviderId, key: &LockKey) {
        let (Some(held), Some(head)) = (&mut self.held, self.waiters.pop_front()) else { return };
        held.name(&head.request);
        // Whoever waits is in line as long as its channel is open: it leaves under the same mutex.
        let _ = head.tell.send(Ok(held.grant(provider, key)));
    }

    /// Gives the key from the guard that holds it to the next in line, without the store. Answers
    /// whether it did.
    pub(super) fn pass_on(&mut self, provider: &ProviderId, key: &LockKey) -> bool {
        if !self.goes_by_line() {
            return false;
        }
        let (Some(held), Some(head)) = (&mut self.held, self.waiters.front()) else { return false };
        if held.pass_on(&head.request).is_none() {
            return false;
        }
        self.give_to_head(provider, key);
        // It tells the store after a while, and withdraws an ask that nobody is left to want.
        self.rouse_agent();
        true
    }

    /// Whether the guard that holds the key could be passed on if it had another turn.
    pub(super) fn may_turn(&self) -> bool {
        let next = self.held.as_ref().zip(self.waiters.front());
        self.goes_by_line() && next.is_some_and(|(held, head)| held.can_go_to(&head.request))
    }

    /// Whether those in line come next: who asks directly, or for several keys, is before them.
    fn goes_by_line(&self) -> bool {
        !self.is_asked_for_directly() && self.several == 0
    }

    /// Whether what the line has at the store is for this waiter, and for nobody else.
    pub(super) fn is_alone_at_the_store(&self, number: u64) -> bool {
        let waiter = self.waiters.iter().find(|waiter| waiter.number == number);
        let next = self.waiters.iter().find(|waiter| waiter.number != number);
        let is_for_next =
            || next.zip(self.stake.as_ref()).is_some_and(|(next, stake)| stake.serves(next));
        waiter.is_some_and(|waiter| self.is_asked_for(waiter)) && !is_for_next()
    }

    /// Takes a waiter that gives up out of the line.
    pub(super) fn leave(&mut self, number: u64) -> (Leaving, Option<Answering>) {
        let Some(at) = self.waiters.iter().position(|waiter| waiter.number == number) else {
            return (Leaving::Answered, None);
        };
        let is_to_be_withdrawn = self.is_alone_at_the_store(number);
        let gone = self.waiters.remove(at).map(|waiter| waiter.tell);
        if is_to_be_withdrawn {
            self.wake_agent();
            return (Leaving::Withdrawn, gone);
        }
        if self.waiters.is_empty() {
            self.wake_agent();
        }
        (Leaving::Gone, gone)
    }

    /// Takes a waiter out of the line that has re-entered the key by itself. Not one for whom the line
    /// asks, or was answered: what it re-entered may be what the line was granted for it, and would be
    /// taken back with that.
    pub(super) fn step_aside(&mut self, number: u64) -> bool {
        let Some(at) = self.waiters.iter().position(|waiter| waiter.number == number) else {
            return false;
        };
        if self.is_asked_for(&self.waiters[at]) {
            self.look();
            return false;
        }
        self.waiters.remove(at);
        true
    }

    /// Whether the line asks for this waiter. Who asks directly asks for nobody else.
    fn is_asked_for(&self, waiter: &Waiter) -> bool {
        let stake = self.stake.as_ref().filter(|stake| stake.state != StakeState::Direct);
        stake.is_some_and(|stake| stake.serves(waiter))
    }

    pub(super) fn wake_agent(&self) {
        if let Some(agent) = &self.agent {
            agent.wake();
        }
    }

    /// Wakes the agent if it sleeps longer than there is nothing for it to do.
    pub(super) fn rouse_agent(&self) {
        if let Some(agent) = &self.agent
            && let Some(due) = self.due(agent.patience())
        {
            agent.wake_by(due);
        }
    }

    /// When there is something for the agent to do; `None`: nothing, as things are.
    fn due(&self, patience: Duration) -> Option<Instant> {
        if let Some(direct) = self.direct() {
            return (!self.waiters.is_empty()).then(|| direct.neglected_from(patience));
        }
        let now = Instant::now();
        let is_behind = || self.stake.is_none() && !self.waiters.is_empty();
        let has_left = !self.leaving.is_empty() || self.is_stake_unwanted();
        if has_left || !self.reentering.is_empty() || is_behind() {
            return Some(now);
        }
        let looks_at = self.stake.as_ref().map(|stake| stake.due().unwrap_or(now));
        let forget_at = self.held.as_ref().and_then(Held::forget_at);
        [looks_at, self.rename_at(), forget_at].into_iter().flatten().min()
    }

    /// When the store is told who holds a key that was passed on.
    fn rename_at(&self) -> Option<Instant> {
        self.held.as_ref().and_then(Held::misnamed_since).map(|since| since + RENAME)
    }

    /// Takes in what the store answered to the line's ask.
    pub(super) fn answered(
        &mut self,
        ask: &Arc<Ask>,
        sent: Moment,
        answer: Result<Answer>,
        provider: &ProviderId,
        key: &LockKey,
    ) {
        let Some(stake) = self.stake.as_mut().filter(|stake| Arc::ptr_eq(&stake.ask, ask)) else {
            return;
        };
        match answer {
            Ok(Answer::Granted(grant)) => {
                self.trouble = None;
                stake.unsure = false;
                if !self.waiters.front().is_some_and(|head| stake.serves(head)) {
                    // Nobody is left whom it was for: the next step takes it back.
                    return;
                }
                self.stake = None;
                self.granted(ask, grant, sent, provider, key);
            }
            Ok(Answer::Blocked(blocked)) => {
                self.trouble = None;
                stake.blocked(sent, &blocked);
                self.note_holder(blocked.owner.as_ref());
            }
            Ok(Answer::Void) => {
                stake.voided();
                self.trouble = Some(Arc::new(void(provider)));
            }
            Err(error) => {
                let unsure = matches!(error, Error::UnknownOutcome { .. });
                stake.unanswered(unsure);
                self.fail_if_final(error);
            }
        }
    }

    /// The head of the line has the key.
    fn granted(
        &mut self,
        ask: &Ask,
        grant: Grant,
        sent: Moment,
        provider: &ProviderId,
        key: &LockKey,
    ) {
        let session = grant.session.clone();
        if let Some(held) = Held::new(ask, grant.lease.token(), sent, None, session) {
            // Else who waits asks anew.
            if self.hold(held).is_none() {
                self.give_to_head(provider, key);
            }
            return;
        }
        let owner = grant.lease.owner.clone();
        if let Some(head) = self.waiters.pop_front() {
            let _ = head.tell.send(Ok(grant.with_counted_from(sent)));
        }
        self.note_holder(owner.as_ref());
    }

    /// Somebody of this owner holds the key by a lease: its other requests re-enter.
    fn note_holder(&mut self, owner: Option<&OwnerId>) {
        let Some(owner) = owner else { return };
        let same = |waiter: &&Waiter| {
            matches!(waiter.request.hold, Hold::Lease)
                && waiter.request.owner.as_ref() == Some(owner)
        };
        self.reentering = self.waiters.iter().filter(same).map(|waiter| waiter.number).collect();
    }

    /// Remembers why the store can't be asked. A store that is full ends the wait of all: they hear of it
    /// once nothing of them is at the store.
    fn fail_if_final(&mut self, error: Error) {
        if matches!(error, Error::CapacityExceeded { .. }) {
            self.leaving.extend(self.waiters.drain(..).map(|waiter| waiter.tell));
        }
        self.trouble = Some(Arc::new(error));
    }

    /// The error of a wait that ended without the key, and with nothing at the store.
    pub(super) fn timed_out(&self, provider: &ProviderId, key: &LockKey) -> Error {
        match &self.trouble {
            Some(error) if matches!(**error, Error::CapacityExceeded { .. }) => {
                Error::capacity_exceeded(provider, Arc::clone(error))
            }
            Some(error) => Error::unavailable(provider, Arc::clone(error)),
            None => Error::timed_out(provider, key.clone()),
        }
    }

    /// What the agent does next. Under the same mutex as everything else, so that none of it is missed.
    pub(super) fn next_step(
        &mut self,
        provider: &ProviderId,
        key: &LockKey,
        patience: Duration,
        next_ask: impl Fn(&AcquireRequest) -> Ask,
    ) -> Step {
        if let Some(direct) = self.direct() {
            let (now, due) = (Instant::now(), direct.neglected_from(patience));
            if self.waiters.is_empty() {
                return Step::Sleep(now + patience);
            }
            if due > now {
                return Step::Sleep(due);
            }
            // Nobody polls it any more: the line asks by itself.
            self.stake = None;
        }
        if let Some(step) = self.withdraw_unwanted() {
            return step;
        }
        for gone in std::mem::take(&mut self.leaving) {
            let _ = gone.send(Err(self.timed_out(provider, key)));
        }
        if let Some(step) = self.reenter() {
            return step;
        }
        self.believe(provider, key);
        let now = Instant::now();
        self.held.take_if(|held| held.forget_at().is_some_and(|at| at <= now));
        let is_renamed = self.rename_at().is_some_and(|at| at <= now);
        if let Some(held) = self.held.as_ref().filter(|_| is_renamed) {
            return Step::Rename(held.origin.clone(), held.lease(provider, key));
        }
        if self.stake.is_none()
            && let Some(head) = self.waiters.front()
        {
            let ask = Arc::new(next_ask(&head.request));
            self.stake = Some(Stake::new(ask, head.number, StakeState::New));
        }
        if let Some(stake) = &mut self.stake {
            if let Some(ask) = stake.take_left_behind() {
                return Step::Withdraw { ask, unsure: true, leaving: Vec::new() };
            }
            // The clock is read again: a new one is due at once.
            if stake.due().is_none_or(|due| due <= Instant::now()) {
                let manner = stake.asks(next_ask);
                return Step::Ask(Arc::clone(&stake.ask), manner, stake.lost);
            }
        }
        self.due(patience).map_or(Step::Leave, Step::Sleep)
    }

    /// Notes what the agent does now. Under the same mutex as its being found out.
    pub(super) fn agent_does(&mut self, step: &Step) {
        match (step, &mut self.agent) {
            (Step::Leave, agent) => *agent = None,
            (Step::Sleep(until), Some(agent)) => agent.sleeps_until(*until),
            (_, Some(agent)) => agent.works(),
            (_, None) => {}
        }
    }

    /// Whether what the line has at the store can't serve the head of the line.
    fn is_stake_unwanted(&self) -> bool {
        let serves = |stake: &Stake| self.waiters.front().is_some_and(|head| stake.serves(head));
        !self.stake.as_ref().is_none_or(serves)
    }

    /// Takes back an ask that can't serve the head of the line.
    fn withdraw_unwanted(&mut self) -> Option<Step> {
        if !self.is_stake_unwanted() {
            return None;
        }
        let (ask, unsure) = self.stake.take()?.into_withdrawal()?;
        let leaving = std::mem::take(&mut self.leaving);
        Some(Step::Withdraw { ask, unsure, leaving })
    }

    fn reenter(&mut self) -> Option<Step> {
        let numbers = std::mem::take(&mut self.reentering);
        let waiting = self.waiters.iter().filter(|waiter| numbers.contains(&waiter.number));
        let requests: Vec<_> =
            waiting.map(|waiter| (waiter.number, waiter.request.clone())).collect();
        (!requests.is_empty()).then_some(Step::Reenter(requests))
    }

    /// A waiter whose owner holds the key has it too.
    pub(super) fn reentered(&mut self, number: u64, grant: Grant) {
        let at = self.waiters.iter().position(|waiter| waiter.number == number);
        if let Some(waiter) = at.and_then(|at| self.waiters.remove(at)) {
            let _ = waiter.tell.send(Ok(grant));
        }
    }

    /// Ends the wait of all. What the line has at the store, the agent takes back.
    pub(super) fn close(&mut self, provider: &ProviderId) {
        for waiter in self.waiters.drain(..) {
            let _ = waiter.tell.send(Err(Error::closed(provider)));
        }
        for inbox in &self.inboxes {
            inbox.noticed.notify_one();
        }
        self.held.take_if(|held| held.forget_at().is_some());
        self.wake_agent();
    }

    /// Has the store asked now: what it told may have been lost.
    pub(super) fn look(&mut self) {
        if let Some(stake) = &mut self.stake {
            stake.look_at = Instant::now();
        }
        for inbox in &self.inboxes {
            inbox.noticed.notify_one();
        }
        self.wake_agent();
    }
}

/// The agent broke off: nobody knows what became of what it had at the store.
pub(super) fn deserted(provider: &ProviderId) -> Error {
    Error::unknown_outcome(provider, "the task that asks the store for this key has ended")
}

/// The time was over before what was asked for was taken back. That goes on.
pub(super) fn not_taken_back(provider: &ProviderId) -> Error {
    Error::unknown_outcome(provider, "the wait couldn't be taken back in time")
}

/// Why nothing was granted to an ask that is void.
pub(super) fn void(provider: &ProviderId) -> Error {
    Error::unavailable(
        provider,
        "what was asked for is void: the session with the store has just ended",
    )
}
