use std::sync::atomic::Ordering;
use std::task::Waker;

use locking_core::{KeySet, LockKey};
use parking_lot::MutexGuard;

use crate::claim::{Claim, Now};
use crate::granted::{Granted, GrantedKeys, Terms};
use crate::queue::Queued;
use crate::shard::{Kept, OwnerMark, Shard, Slot, SlotMut};
use crate::store::{Locked, Store, wake};
use crate::waiter::Outcome;

/// Where a claim stands among those who want its keys.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turn {
    /// It comes now: all who wait for one of the keys come first.
    Last,
    /// It comes now, and those who wait had their chance: only keys that are kept are not for it.
    Next,
    /// It is a waiter with this ticket: keys that are kept for those who came later are for it.
    Ticket(u64),
}

/// Why a claim isn't served.
#[derive(Debug)]
pub(crate) struct Blocked {
    /// Which of the claim's keys: the first blocking one.
    pub(crate) at: usize,
    pub(crate) hash: u64,
    /// Where the key's slot is in its shard, until that is changed.
    pub(crate) slot: usize,
    /// Whether nobody holds it, but others wait and come first.
    pub(crate) is_awaited: bool,
    /// The token of the hold in the way, if there is one.
    pub(crate) token: Option<u64>,
}

/// What settling a key comes to next.
pub(crate) enum Step {
    /// Nobody is to be served: nobody waits.
    Free,
    /// Nobody is to be served: somebody holds it, or it is kept.
    Held,
    /// Somebody was served, and is to be woken; there may be others.
    Served(Option<Waker>),
    /// The same, and there are none: it shares the key with nobody.
    Last(Option<Waker>),
    /// The one with this ticket waits for these keys, and not all of their shards are locked.
    Several(u64, KeySet),
}

impl Turn {
    /// Whether who asks learns of a grant before anything else can happen to it.
    pub(crate) fn is_told_at_once(self) -> bool {
        !matches!(self, Self::Ticket(_))
    }
}

/// How keys find their next holder.
impl Store {
    /// Serves a claim whose shards are locked: all keys or none.
    pub(crate) fn take(
        &self,
        locked: &mut Locked<'_>,
        claim: &Claim,
        turn: Turn,
    ) -> Result<Granted, Blocked> {
        if let Locked::One { shard, hash } = locked {
            return self.take_one(shard, *hash, claim, turn);
        }
        self.find_blocking(locked, claim, turn)?;
        let (terms, mark) = (self.terms(claim, turn, &Now::default()), self.mark(claim.owner()));
        let grant = |key| {
            let hash = self.hash(key);
            let mut slot = locked.shard(hash).slot_or_new(hash, key);
            let granted = slot.slot.grant(slot.owner, claim, mark, &terms);
            slot.watch_expiry();
            granted
        };
        let keys = GrantedKeys::Several(claim.keys().iter().map(grant).collect());
        Ok(terms.granted(keys))
    }

    /// The usual case: a claim for one key, hashed and looked up once.
    fn take_one(
        &self,
        shard: &mut Shard,
        hash: u64,
        claim: &Claim,
        turn: Turn,
    ) -> Result<Granted, Blocked> {
        let mut slot = shard.slot_or_new(hash, claim.keys().first());
        let now = Now::default();
        slot.check(claim, 0, turn, &now)?;
        let granted = self.grant_one(slot.slot, slot.owner, claim, turn, &now);
        slot.watch_expiry();
        Ok(granted)
    }

    /// Gives the only key of a claim to it.
    fn grant_one(
        &self,
        slot: &mut Slot,
        owner: &mut OwnerMark,
        claim: &Claim,
        turn: Turn,
        now: &Now,
    ) -> Granted {
        let terms = self.terms(claim, turn, now);
        let granted = slot.grant(owner, claim, self.mark(claim.owner()), &terms);
        terms.granted(GrantedKeys::One(granted))
    }

    /// The terms of a grant. Its token is drawn here, under the mutexes of the keys that it is for; and the time is
    /// read once: a guard counts from when the store does.
    fn terms(&self, claim: &Claim, turn: Turn, now: &Now) -> Terms {
        let number = self.next_token.fetch_add(1, Ordering::AcqRel);
        Terms::new(number, claim, now, turn.is_told_at_once())
    }

    fn find_blocking(
        &self,
        locked: &mut Locked<'_>,
        claim: &Claim,
        turn: Turn,
    ) -> Result<(), Blocked> {
        let (now, mut awaited) = (Now::default(), None);
        for (at, key) in claim.keys().iter().enumerate() {
            let hash = self.hash(key);
            let Some(mut slot) = locked.shard(hash).slot(hash, key) else { continue };
            match slot.check(claim, at, turn, &now) {
                Err(blocked) if blocked.is_awaited => awaited = awaited.or(Some(blocked)),
                checked => checked?,
            }
        }
        awaited.map_or(Ok(()), Err)
    }

    /// Hands free keys to those who wait for them, in turn.
    pub(crate) fn settle(&self, mut keys: Vec<LockKey>) {
        while let Some(key) = keys.pop() {
            let hash = self.hash(&key);
            let mut shard = self.shard(hash).lock();
            if let Some(slot) = shard.slot(hash, &key) {
                let step = self.next_step(slot, &Now::default());
                self.settle_from(step, shard, hash, &key, &mut keys);
            }
        }
    }

    /// Goes on settling a key whose shard is locked; adds the keys that are to be settled with it.
    pub(crate) fn settle_from<'a>(
        &'a self,
        mut step: Step,
        mut shard: MutexGuard<'a, Shard>,
        hash: u64,
        key: &LockKey,
        others: &mut Vec<LockKey>,
    ) {
        let mut served = None;
        loop {
            match step {
                Step::Free => {
                    shard.forget_if_unused(hash, key);
                    break;
                }
                Step::Held => break,
                Step::Served(waker) => wake(std::mem::replace(&mut served, waker)),
                Step::Last(waker) => {
                    wake(std::mem::replace(&mut served, waker));
                    break;
                }
                Step::Several(ticket, keys) => {
                    drop(shard);
                    let mut locked = self.lock(&keys);
                    let waker = self.serve(&mut locked, ticket, key, others);
                    drop(locked);
                    wake(waker);
                    shard = self.shard(hash).lock();
                }
            }
            let Some(slot) = shard.slot(hash, key) else { break };
            step = self.next_step(slot, &Now::default());
        }
        // Waking a task can be a system call. There is rarely more than one, so all but the last are
        // woken under the mutex, and that one is not.
        drop(shard);
        wake(served);
    }

    /// Serves the first waiter of a key that this key doesn't block any more, if it waits for nothing
    /// else.
    pub(crate) fn next_step(&self, mut slot: SlotMut<'_>, now: &Now) -> Step {
        let is_free = slot.current(now).is_none();
        let next = match &slot.holder {
            None => {
                let first = slot.queue.first();
                first.filter(|first| !slot.is_kept_from(Turn::Ticket(first.ticket)))
            }
            // An owner's other requests are served with the first, whatever their turn.
            Some(holder) if holder.is_shared() => {
                let reenters = |next: Queued| slot.waiters[next.at].claim.reenters(holder);
                slot.queue.first_of(slot.mark(), reenters)
            }
            Some(_) => None,
        };
        let Some(next) = next else {
            slot.watch_expiry();
            if is_free && slot.kept_for.as_ref().is_some_and(|kept| kept.until <= now.get()) {
                slot.kept_for = None;
            }
            return if is_free { Step::Free } else { Step::Held };
        };
        let waiter = &mut slot.waiters[next.at];
        let claim = &waiter.claim;
        if claim.keys().len() > 1 {
            return Step::Several(next.ticket, claim.keys().clone());
        }
        let shares = claim.shares();
        slot.slot.queue.remove(waiter);
        let turn = Turn::Ticket(next.ticket);
        let granted = self.grant_one(slot.slot, slot.owner, claim, turn, now);
        let waker = waiter.end(Outcome::Granted(granted));
        slot.watch_expiry();
        if shares { Step::Served(waker) } else { Step::Last(waker) }
    }

    /// Serves the waiter with this ticket if it is in the queue of `at`, or moves it to the queue of the key that
    /// blocks it now. Adds the keys whose other waiters may be served with it. Answers whom to wake.
    fn serve(
        &self,
        locked: &mut Locked<'_>,
        ticket: u64,
        at: &LockKey,
        others: &mut Vec<LockKey>,
    ) -> Option<Waker> {
        let hash = self.hash(at);
        let shard = locked.shard(hash);
        let queued = shard.slot(hash, at)?.queue.find(ticket)?;
        // Looked at together with other shards. Of several keys a copy costs little: it shares them.
        let claim = shard.waiters[queued.at].claim.clone();
        let blocked = match self.take(locked, &claim, Turn::Ticket(ticket)) {
            Ok(granted) => {
                if claim.shares() {
                    others.extend(claim.keys().iter().filter(|key| *key != at).cloned());
                }
                let shard = locked.shard(hash);
                return shard.end_wait(hash, at, queued, Outcome::Granted(granted));
            }
            Err(blocked) => blocked,
        };
        let to = &claim.keys()[blocked.at];
        if to == at {
            return None;
        }
        let waiter = &mut locked.shard(hash).waiters[queued.at];
        // A close may have looked at the other queue already.
        if waiter.is_refused() {
            self.give_up_kept(locked, claim.keys(), ticket);
            others.extend(claim.keys().iter().cloned());
            return locked.shard(hash).end_wait(hash, at, queued, Outcome::Closed);
        }
        // Of those who came earlier none is waited for with keys kept.
        if let Some(until) = waiter.count_pass(blocked.token) {
            self.keep_free_keys(locked, &claim, &Kept { ticket, until });
        }
        // Nothing wakes anybody until it lies in its new place.
        let mut waiter = locked.shard(hash).lift(queued.at);
        locked.shard(hash).slot(hash, at)?.queue.remove(&waiter);
        let mut slot = locked.shard(blocked.hash).slot_or_new(blocked.hash, to);
        let waker = waiter.move_to(blocked.at, slot.ends());
        slot.queue(waiter);
        locked.shard(hash).tidy(hash, at);
        // Free, but somebody there came first, and is served first.
        if blocked.is_awaited {
            others.push(to.clone());
        }
        waker
    }

    /// Keeps the free keys of a waiter that was passed over too often.
    fn keep_free_keys(&self, locked: &mut Locked<'_>, claim: &Claim, kept: &Kept) {
        for key in claim.keys() {
            let hash = self.hash(key);
            let mut slot = locked.shard(hash).slot_or_new(hash, key);
            if slot.holder.is_none() && !slot.is_kept_from(Turn::Ticket(kept.ticket)) {
                slot.kept_for = Some(Box::new(*kept));
                slot.watch_expiry();
            }
        }
    }

    /// Gives on what was kept for a waiter that has gone.
    pub(crate) fn stop_keeping(&self, keys: &KeySet, ticket: u64) {
        self.give_up_kept(&mut self.lock(keys), keys, ticket);
        self.settle(keys.iter().cloned().collect());
    }

    fn give_up_kept(&self, locked: &mut Locked<'_>, keys: &KeySet, ticket: u64) {
        for key in keys {
            let hash = self.hash(key);
            if let Some(mut slot) = locked.shard(hash).slot(hash, key)
                && slot.kept_for.as_ref().is_some_and(|kept| kept.ticket == ticket)
            {
                slot.kept_for = None;
            }
        }
    }
}
