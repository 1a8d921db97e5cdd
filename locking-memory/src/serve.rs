use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use locking_core::{LockKey, Moment};

use crate::claim::{Claim, Now};
use crate::queue::{Granted, Outcome, Waiter};
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
    /// The first blocking key in byte order.
    pub(crate) key: LockKey,
    /// Whether nobody holds it, but others wait and come first.
    pub(crate) is_awaited: bool,
    /// The token of the hold in the way, if there is one.
    pub(crate) token: Option<u64>,
}

/// What settling a key comes to next.
enum Step {
    /// Nobody is to be served.
    Done,
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
        let mut leased = Vec::with_capacity(claim.keys.len());
        for key in &claim.keys {
            let hash = self.hash(key);
            let mut slot = locked.shard(hash).slot_or_new(hash, key);
            leased.push(slot.grant(claim, mark, token, expires, turn));
        }
        Ok(Granted { lease: claim.lease(leased), at, number: token, since })
    }

    /// The usual case: a claim for one key, hashed and looked up once.
    fn take_one(
        &self,
        shard: &mut Shard,
        hash: u64,
        claim: &Claim,
        turn: Turn,
    ) -> Result<Granted, Blocked> {
        let mut slot = shard.slot_or_new(hash, claim.keys.first());
        slot.check(claim, turn, &Now::default())?;
        Ok(self.grant_one(&mut slot, claim, turn))
    }

    /// Gives the only key of a claim to it.
    fn grant_one(&self, slot: &mut SlotMut<'_>, claim: &Claim, turn: Turn) -> Granted {
        let now = Now::default();
        let (at, expires) = (turn.counts_from(claim, &now), claim.expires(&now));
        let since = expires.map(|_| now.get());
        let (token, mark) = (self.draw_token(), self.mark(claim.owner()));
        let leased = slot.grant(claim, mark, token, expires, turn);
        Granted { lease: claim.lease_of_one(leased), at, number: token, since }
    }

    fn find_blocking(
        &self,
        locked: &mut Locked<'_>,
        claim: &Claim,
        turn: Turn,
    ) -> Result<(), Blocked> {
        let (now, mut awaited) = (Now::default(), None);
        for key in &claim.keys {
            let hash = self.hash(key);
            let Some(slot) = locked.shard(hash).slot(hash, key) else { continue };
            match slot.check(claim, turn, &now) {
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

    pub(crate) fn enqueue(&self, locked: &mut Locked<'_>, waiter: &Arc<Waiter>, key: &LockKey) {
        let hash = self.hash(key);
        let mut slot = locked.shard(hash).slot_or_new(hash, key);
        // Also where it isn't the first: when it is, it needn't be woken to set its timer, unless the
        // hold in its way then ends sooner than the one now.
        waiter.look_at(slot.ends());
        slot.queue.insert(Arc::clone(waiter));
    }

    /// Hands free keys to those who wait for them, in turn.
    pub(crate) fn settle(&self, mut keys: Vec<LockKey>) {
        while let Some(key) = keys.pop() {
            let locked = self.lock_one(self.hash(&key));
            self.settle_locked(locked, &key, &mut keys);
        }
    }

    /// The same for one key whose shard is locked; adds the keys that are to be settled with it.
    pub(crate) fn settle_locked<'a>(
        &'a self,
        mut locked: Locked<'a>,
        key: &LockKey,
        others: &mut Vec<LockKey>,
    ) {
        let mut served = None;
        loop {
            match self.next_step(&mut locked, key) {
                Step::Done => break,
                Step::Served(waker) => wake(std::mem::replace(&mut served, waker)),
                Step::Last(waker) => {
                    wake(std::mem::replace(&mut served, waker));
                    break;
                }
                Step::Several(waiter) => {
                    drop(locked);
                    locked = self.lock(&waiter.claim.keys);
                    let waker = self.serve(&mut locked, &waiter, key, others);
                    drop(locked);
                    wake(waker);
                    locked = self.lock_one(self.hash(key));
                }
            }
        }
        // Waking a task can be a system call. There is rarely more than one, so all but the last are
        // woken under the mutex, and that one is not.
        drop(locked);
        wake(served);
    }

    /// Serves the first waiter of a key that this key doesn't block any more, if it waits for nothing
    /// else.
    fn next_step(&self, locked: &mut Locked<'_>, key: &LockKey) -> Step {
        let (now, hash) = (Now::default(), self.hash(key));
        let shard = locked.shard(hash);
        let Some(mut slot) = shard.slot_to_grant(hash, key) else { return Step::Done };
        let is_free = slot.current(&now).is_none();
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
            if is_free {
                shard.forget_if_unused(hash, key);
            }
            return Step::Done;
        };
        if waiter.claim.keys.len() > 1 {
            return Step::Several(Arc::clone(waiter));
        }
        let ticket = waiter.ticket;
        let Some(waiter) = slot.queue.take(ticket) else { return Step::Done };
        let granted = self.grant_one(&mut slot, &waiter.claim, Turn::Ticket(ticket));
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
                    others.extend(claim.keys.iter().filter(|key| *key != at).cloned());
                }
                waiter.settle(Outcome::Granted(granted))
            }
            Err(blocked) if blocked.key == *at => None,
            // A close may have looked at the other queue already.
            Err(_) if waiter.client.is_refused() => {
                self.leave_queue(locked, waiter, at);
                self.give_up_kept(locked, waiter);
                others.extend(claim.keys.iter().cloned());
                waiter.settle(Outcome::Closed)
            }
            Err(blocked) => {
                self.keep_free_keys(locked, waiter, &blocked);
                self.leave_queue(locked, waiter, at);
                self.enqueue(locked, waiter, &blocked.key);
                // Free, but somebody there came first, and is served first.
                if blocked.is_awaited {
                    others.push(blocked.key.clone());
                }
                // Last, as it wakes the waiter: what it reads then is the new key's.
                waiter.move_to(&blocked.key);
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
        for key in &waiter.claim.keys {
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
        self.give_up_kept(&mut self.lock(&waiter.claim.keys), waiter);
        self.settle(waiter.claim.keys.iter().cloned().collect());
    }

    fn give_up_kept(&self, locked: &mut Locked<'_>, waiter: &Arc<Waiter>) {
        for key in &waiter.claim.keys {
            let hash = self.hash(key);
            if let Some(slot) = locked.shard(hash).slot(hash, key)
                && slot.kept_for.as_ref().is_some_and(|kept| Arc::ptr_eq(&kept.waiter, waiter))
            {
                slot.kept_for = None;
            }
        }
    }
}
