use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use locking_core::{LockKey, Moment};
use parking_lot::MutexGuard;

use crate::claim::{Claim, Now};
use crate::granted::{Granted, GrantedKeys};
use crate::queue::{Outcome, Waiter};
use crate::shard::{Kept, Shard, SlotMut};
use crate::store::{Locked, Store, wake};

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
    /// This one waits for other keys too, whose shards aren't locked.
    Several(Arc<Waiter>),
}

impl Turn {
    /// Whether who asks learns of a grant before anything else can happen to it.
    pub(crate) fn is_told_at_once(self) -> bool {
        !matches!(self, Self::Ticket(_))
    }

    /// Since when the time of a guard that is granted now counts, for one that didn't ask just now.
    fn counts_from(self, claim: &Claim, now: &Now) -> Option<Moment> {
        (matches!(self, Self::Ticket(_)) && claim.is_guard()).then(|| Moment::of(now.get()))
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
        // Read once: a guard counts from when the store does.
        let now = Now::default();
        let (at, expires) = (turn.counts_from(claim, &now), claim.expires(&now));
        let since = expires.map(|_| now.get());
        let (token, mark) = (self.draw_token(), self.mark(claim.owner()));
        let grant = |key| {
            let hash = self.hash(key);
            let mut slot = locked.shard(hash).slot_or_new(hash, key);
            slot.grant(claim, mark, token, expires, turn)
        };
        let keys = GrantedKeys::Several(claim.keys().iter().map(grant).collect());
        Ok(Granted { keys, at, number: token, since })
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
        Ok(self.grant_one(&mut slot, claim, turn, &now))
    }

    /// Gives the only key of a claim to it.
    fn grant_one(&self, slot: &mut SlotMut<'_>, claim: &Claim, turn: Turn, now: &Now) -> Granted {
        let (at, expires) = (turn.counts_from(claim, now), claim.expires(now));
        let since = expires.map(|_| now.get());
        let (token, mark) = (self.draw_token(), self.mark(claim.owner()));
        let keys = GrantedKeys::One(slot.grant(claim, mark, token, expires, turn));
        Granted { keys, at, number: token, since }
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
            let Some(mut slot) = locked.shard(hash).slot_to_grant(hash, key) else { continue };
            match slot.check(claim, at, turn, &now) {
                Err(blocked) if blocked.is_awaited => awaited = awaited.or(Some(blocked)),
                checked => checked?,
            }
        }
        awaited.map_or(Ok(()), Err)
    }

    /// The next fencing token. Called under the mutexes of the keys that it is for.
    fn draw_token(&self) -> u64 {
        self.next_token.fetch_add(1, Ordering::AcqRel)
    }

    /// Hands free keys to those who wait for them, in turn.
    pub(crate) fn settle(&self, mut keys: Vec<LockKey>) {
        while let Some(key) = keys.pop() {
            let hash = self.hash(&key);
            let mut shard = self.shard(hash).lock();
            if let Some(slot) = shard.slot_to_grant(hash, &key) {
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
                Step::Several(waiter) => {
                    drop(shard);
                    let mut locked = self.lock(waiter.claim.keys());
                    let waker = self.serve(&mut locked, &waiter, key, others);
                    drop(locked);
                    wake(waker);
                    shard = self.shard(hash).lock();
                }
            }
            let Some(slot) = shard.slot_to_grant(hash, key) else { break };
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
                slot.queue.first_of(slot.mark(), |waiter| waiter.claim.reenters(holder))
            }
            Some(_) => None,
        };
        let Some(waiter) = next else {
            slot.watch_expiry();
            if is_free && slot.kept_for.as_ref().is_some_and(|kept| kept.until <= now.get()) {
                slot.kept_for = None;
            }
            return if is_free { Step::Free } else { Step::Held };
        };
        if waiter.claim.keys().len() > 1 {
            return Step::Several(Arc::clone(waiter));
        }
        let ticket = waiter.ticket;
        let Some(waiter) = slot.queue.take(ticket) else { return Step::Held };
        let granted = self.grant_one(&mut slot, &waiter.claim, Turn::Ticket(ticket), now);
        let waker = waiter.settle(Outcome::Granted(granted));
        if waiter.claim.shares() { Step::Served(waker) } else { Step::Last(waker) }
    }

    /// Serves a waiter in the queue of `at`, or moves it to the queue of the key that blocks it
    /// now. Adds the keys whose other waiters may be served with it. Answers whom to wake.
    fn serve(
        &self,
        locked: &mut Locked<'_>,
        waiter: &Arc<Waiter>,
        at: &LockKey,
        others: &mut Vec<LockKey>,
    ) -> Option<Waker> {
        if !waiter.is_queued_at(at) {
            return None;
        }
        let claim = &waiter.claim;
        match self.take(locked, claim, Turn::Ticket(waiter.ticket)) {
            Ok(granted) => {
                self.leave_queue(locked, waiter, at);
                if claim.shares() {
                    others.extend(claim.keys().iter().filter(|key| *key != at).cloned());
                }
                waiter.settle(Outcome::Granted(granted))
            }
            Err(blocked) if claim.keys()[blocked.at] == *at => None,
            // A close may have looked at the other queue already.
            Err(_) if waiter.is_refused() => {
                self.leave_queue(locked, waiter, at);
                self.give_up_kept(locked, waiter);
                others.extend(claim.keys().iter().cloned());
                waiter.settle(Outcome::Closed)
            }
            Err(blocked) => {
                self.keep_free_keys(locked, waiter, &blocked);
                self.leave_queue(locked, waiter, at);
                let (to, hash) = (&claim.keys()[blocked.at], blocked.hash);
                let mut slot = locked.shard(hash).slot_or_new(hash, to);
                let ends = slot.ends();
                slot.queue.insert(Arc::clone(waiter));
                // Free, but somebody there came first, and is served first.
                if blocked.is_awaited {
                    others.push(to.clone());
                }
                // Last, as it wakes the waiter: what it reads then is the new key's.
                waiter.move_to(blocked.at, ends);
                None
            }
        }
    }

    fn leave_queue(&self, locked: &mut Locked<'_>, waiter: &Waiter, key: &LockKey) {
        let hash = self.hash(key);
        let shard = locked.shard(hash);
        if let Some(slot) = shard.slot(hash, key) {
            slot.queue.remove(waiter);
            slot.watch_expiry();
            shard.forget_if_unused(hash, key);
        }
    }

    /// Keeps the free keys of a waiter that was passed over too often, as long as what blocks it
    /// came later than it did: those who came earlier are waited for without that.
    fn keep_free_keys(&self, locked: &mut Locked<'_>, waiter: &Arc<Waiter>, blocked: &Blocked) {
        let was_overtaken = blocked.token.is_some_and(|token| token >= waiter.since);
        let Some(until) = was_overtaken.then(|| waiter.count_pass()).flatten() else { return };
        for key in waiter.claim.keys() {
            let hash = self.hash(key);
            let mut slot = locked.shard(hash).slot_or_new(hash, key);
            if slot.holder.is_none() && !slot.is_kept_from(Turn::Ticket(waiter.ticket)) {
                slot.kept_for = Some(Box::new(Kept { waiter: Arc::clone(waiter), until }));
                slot.watch_expiry();
            }
        }
    }

    /// Gives on what was kept for a waiter that has gone.
    pub(crate) fn stop_keeping(&self, waiter: &Arc<Waiter>) {
        if !waiter.has_had_keys_kept() {
            return;
        }
        self.give_up_kept(&mut self.lock(waiter.claim.keys()), waiter);
        self.settle(waiter.claim.keys().iter().cloned().collect());
    }

    fn give_up_kept(&self, locked: &mut Locked<'_>, waiter: &Arc<Waiter>) {
        for key in waiter.claim.keys() {
            let hash = self.hash(key);
            if let Some(slot) = locked.shard(hash).slot(hash, key)
                && slot.kept_for.as_ref().is_some_and(|kept| Arc::ptr_eq(&kept.waiter, waiter))
            {
                slot.kept_for = None;
            }
        }
    }
}
