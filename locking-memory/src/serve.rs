use std::sync::Arc;
use std::sync::atomic::Ordering;

use locking_core::{FencingToken, LeasedKey, LockKey, Moment};
use smallvec::SmallVec;

use crate::claim::{Claim, Now};
use crate::queue::{Granted, Outcome, Waiter};
use crate::store::{Locked, Store};

/// How often a waiter for several keys is passed over before keys are kept for it: what the contract
/// allows between processes.
const PASSES: u32 = 16;

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
    token: Option<u64>,
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
        self.find_blocking(locked, claim, turn)?;
        // Read before the clock that the store counts by, so that a guard counts from no later.
        let at = claim.is_guard().then(Moment::now);
        let expires = claim.expires();
        let token = self.next_token.fetch_add(1, Ordering::AcqRel);
        let mut granted = Granted { keys: SmallVec::new(), at, extended: Vec::new() };
        for key in &claim.keys {
            let hash = self.hash(key);
            let slot = locked.shard(hash).slot_or_new(hash, key);
            granted.keys.push(match &mut slot.holder {
                Some(holder) => {
                    let before = holder.expires;
                    holder.prolong(expires);
                    if let Some(before) = before.filter(|_| holder.expires != before) {
                        granted.extended.push((key.clone(), before));
                    }
                    LeasedKey::reentered(key.clone(), FencingToken::new(holder.token))
                }
                free => {
                    *free = Some(claim.holder(token, expires));
                    slot.kept_for = None;
                    LeasedKey::taken(key.clone(), FencingToken::new(token))
                }
            });
            slot.watch_expiry();
        }
        Ok(granted)
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
            let (has_queue, is_kept) = (!slot.queue.is_empty(), slot.is_kept_from(turn));
            let blocking = |token| Blocked { key: key.clone(), is_awaited: false, token };
            match slot.current(&now) {
                Some(holder) if claim.reenters(holder) => {}
                Some(holder) => return Err(blocking(Some(holder.token))),
                None if is_kept => return Err(blocking(None)),
                None if has_queue && matches!(turn, Turn::Last) && awaited.is_none() => {
                    awaited = Some(Blocked { key: key.clone(), is_awaited: true, token: None });
                }
                None => {}
            }
        }
        awaited.map_or(Ok(()), Err)
    }

    pub(crate) fn enqueue(&self, locked: &mut Locked<'_>, waiter: &Arc<Waiter>, key: &LockKey) {
        let hash = self.hash(key);
        let slot = locked.shard(hash).slot_or_new(hash, key);
        waiter.look_at(slot.holder.as_ref().and_then(|holder| holder.expires));
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
        while let Some(waiter) = self.next_served(&mut locked, key) {
            if waiter.claim.keys.len() > 1 {
                drop(locked);
                locked = self.lock(&waiter.claim.keys);
                self.serve(&mut locked, &waiter, key, others);
                drop(locked);
                locked = self.lock_one(self.hash(key));
            } else {
                self.serve(&mut locked, &waiter, key, others);
            }
        }
    }

    /// The first waiter of a key that this key doesn't block any more.
    fn next_served(&self, locked: &mut Locked<'_>, key: &LockKey) -> Option<Arc<Waiter>> {
        let (now, hash) = (Now::default(), self.hash(key));
        let shard = locked.shard(hash);
        let slot = shard.slot(hash, key)?;
        let is_free = slot.current(&now).is_none();
        let next = match &slot.holder {
            None => {
                let first = slot.queue.first();
                first.filter(|first| !slot.is_kept_from(Turn::Ticket(first.ticket))).cloned()
            }
            // An owner's other requests are served with the first, whatever their turn.
            Some(holder) if holder.is_shared() => {
                slot.queue.iter().find(|waiter| waiter.claim.reenters(holder)).cloned()
            }
            Some(_) => None,
        };
        if next.is_none() {
            slot.watch_expiry();
            if is_free {
                shard.forget_if_unused(hash, key);
            }
        }
        next
    }

    /// Serves a waiter in the queue of `at`, or moves it to the queue of the key that blocks it
    /// now. Adds the keys whose other waiters may be served with it.
    fn serve(
        &self,
        locked: &mut Locked<'_>,
        waiter: &Arc<Waiter>,
        at: &LockKey,
        others: &mut Vec<LockKey>,
    ) {
        if !waiter.is_queued_at(at) {
            return;
        }
        let claim = &waiter.claim;
        match self.take(locked, claim, Turn::Ticket(waiter.ticket)) {
            Ok(granted) => {
                self.leave_queue(locked, waiter, at);
                waiter.settle(Outcome::Granted(granted));
                if claim.shares() {
                    others.extend(claim.keys.iter().filter(|key| *key != at).cloned());
                }
            }
            Err(blocked) if blocked.key == *at => {}
            // A close may have looked at the other queue already.
            Err(_) if waiter.client.is_closed() => {
                self.leave_queue(locked, waiter, at);
                self.give_up_kept(locked, waiter);
                waiter.settle(Outcome::Closed);
                others.extend(claim.keys.iter().cloned());
            }
            Err(blocked) => {
                self.keep_free_keys(locked, waiter, &blocked);
                self.leave_queue(locked, waiter, at);
                waiter.move_to(&blocked.key);
                self.enqueue(locked, waiter, &blocked.key);
                waiter.rearm();
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
        if !was_overtaken || waiter.count_pass() <= PASSES {
            return;
        }
        for key in &waiter.claim.keys {
            let hash = self.hash(key);
            let slot = locked.shard(hash).slot_or_new(hash, key);
            if slot.holder.is_none() && !slot.is_kept_from(Turn::Ticket(waiter.ticket)) {
                slot.kept_for = Some(Arc::clone(waiter));
            }
        }
    }

    /// Gives on what was kept for a waiter that has gone.
    pub(crate) fn stop_keeping(&self, waiter: &Arc<Waiter>) {
        if !waiter.was_passed_over() {
            return;
        }
        self.give_up_kept(&mut self.lock(&waiter.claim.keys), waiter);
        self.settle(waiter.claim.keys.iter().cloned().collect());
    }

    fn give_up_kept(&self, locked: &mut Locked<'_>, waiter: &Arc<Waiter>) {
        for key in &waiter.claim.keys {
            let hash = self.hash(key);
            if let Some(slot) = locked.shard(hash).slot(hash, key)
                && slot.kept_for.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, waiter))
            {
                slot.kept_for = None;
            }
        }
    }
}
