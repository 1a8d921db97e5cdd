use std::sync::Arc;
use std::sync::atomic::Ordering;

use locking_core::{Expiry, KeySet, Lease, LeasedKey, LockKey, LossReason, OwnerId, ReleaseScope};

use crate::claim::{Claim, Now};
use crate::granted::Granted;
use crate::holder::Holder;
use crate::serve::Step;
use crate::shard::{Freed, SlotMut};
use crate::store::{Store, wake};

/// How holds end, and how their time is set.
impl Store {
    /// Frees the keys that this owner's leases hold. Whether that was all of them.
    pub(crate) fn release(&self, keys: &KeySet, owner: Option<&OwnerId>) -> bool {
        let freed = self.free_where(keys.iter(), keys, |_, holder| {
            holder.guard.is_none() && holder.owner.as_ref() == owner
        });
        freed.is_none()
    }

    /// Frees what a lease took. `Err`: the first key that it no longer held.
    pub(crate) fn release_lease(&self, lease: &Lease) -> Result<(), LockKey> {
        if let [leased] = lease.keys() {
            let held = |holder: &Holder| is_of(holder, lease, leased);
            let is_given_back = !leased.taken || self.free_one(&leased.key, held);
            return if is_given_back { Ok(()) } else { Err(leased.key.clone()) };
        }
        let taken: Vec<&LeasedKey> = lease.taken().collect();
        if taken.is_empty() {
            return Ok(());
        }
        let keys = lease.key_set();
        let missing =
            self.free_where(taken.iter().map(|leased| &leased.key), &keys, |at, holder| {
                is_of(holder, lease, taken[at])
            });
        missing.map_or(Ok(()), Err)
    }

    /// Frees each of `keys` whose holder passes the test, given the key's place among them. Answers
    /// the first one that wasn't freed.
    fn free_where<'k>(
        &self,
        keys: impl Iterator<Item = &'k LockKey>,
        all: &KeySet,
        mut passes: impl FnMut(usize, &Holder) -> bool,
    ) -> Option<LockKey> {
        if let [key] = &**all {
            return (!self.free_one(key, |holder| passes(0, holder))).then(|| key.clone());
        }
        let (now, mut missing, mut awaited) = (Now::default(), None, Vec::new());
        let mut locked = self.lock(all);
        for (at, key) in keys.enumerate() {
            let hash = self.hash(key);
            let shard = locked.shard(hash);
            match shard.free(hash, key, &now, |holder| passes(at, holder)) {
                Freed::No => missing = missing.or_else(|| Some(key.clone())),
                Freed::Yes => {}
                Freed::Awaited(_) => awaited.push(key.clone()),
            }
        }
        drop(locked);
        self.settle(awaited);
        missing
    }

    /// The usual case: one key, looked up once, and handed on under the same lock.
    fn free_one(&self, key: &LockKey, passes: impl FnOnce(&Holder) -> bool) -> bool {
        let (now, hash) = (Now::default(), self.hash(key));
        let mut shard = self.shard(hash).lock();
        let step = match shard.free(hash, key, &now, |holder| passes(holder)) {
            Freed::No => return false,
            Freed::Yes => return true,
            Freed::Awaited(slot) => self.next_step(slot, &now),
        };
        if let Step::Last(waker) = step {
            drop(shard);
            wake(waker);
            return true;
        }
        let mut others = Vec::new();
        self.settle_from(step, shard, hash, key, &mut others);
        self.settle(others);
        true
    }

    /// Sets the remaining time of every key of a lease, or of none. `Err`: the first key that it no
    /// longer holds.
    pub(crate) fn extend(self: &Arc<Self>, lease: &Lease, expiry: Expiry) -> Result<(), LockKey> {
        let (now, mut locked) = (Now::default(), self.lock(&lease.key_set()));
        for leased in lease.keys() {
            let hash = self.hash(&leased.key);
            let slot = locked.shard(hash).slot(hash, &leased.key);
            let is_held = |mut slot: SlotMut<'_>| {
                slot.current(&now).is_some_and(|holder| is_of(holder, lease, leased))
            };
            if !slot.is_some_and(is_held) {
                return Err(leased.key.clone());
            }
        }
        let expires = now.get() + expiry.get();
        for leased in lease.keys() {
            let hash = self.hash(&leased.key);
            if let Some(mut slot) = locked.shard(hash).slot(hash, &leased.key) {
                if let Some(holder) = &mut slot.holder {
                    holder.extend(expires);
                }
                slot.watch_expiry();
            }
        }
        drop(locked);
        self.sweeper.start(self, now.get());
        Ok(())
    }

    /// Undoes a grant whose waiter has gone, as if it had never been: what others were granted too
    /// stays, for as long as they know.
    pub(crate) fn undo(self: &Arc<Self>, claim: &Claim, granted: &Granted) {
        let (now, mut awaited, mut will_end) = (Now::default(), Vec::new(), false);
        let mut locked = self.lock(claim.keys());
        for (key, leased) in claim.keys().iter().zip(&*granted.keys) {
            let hash = self.hash(key);
            let is_nobodys = |holder: &mut Holder| {
                holder.is_of(claim.owner(), leased.token) && !holder.give_up(granted.number)
            };
            let shard = locked.shard(hash);
            shard.free(hash, key, &now, is_nobodys);
            let Some(mut slot) = shard.slot(hash, key) else { continue };
            // It may also have ended without anybody's looking, or end sooner now.
            if slot.current(&now).is_none() {
                awaited.push(key.clone());
            }
            slot.watch_expiry();
            will_end |= slot.ends().is_some();
        }
        drop(locked);
        self.settle(awaited);
        // Whoever has it now may not have asked for an end.
        if will_end {
            self.sweeper.start(self, now.get());
        }
    }

    /// Notes that a waiter learned of its grant. What it shared with a request that never did, and
    /// that took it, is its own from here on.
    pub(crate) fn tell(&self, claim: &Claim, granted: &mut Granted) {
        if granted.took_all() {
            return;
        }
        let mut locked = self.lock(claim.keys());
        for (key, leased) in claim.keys().iter().zip(&mut *granted.keys) {
            let hash = self.hash(key);
            let slot = locked.shard(hash).slot(hash, key);
            if let Some(mut slot) = slot
                && let Some(holder) = &mut slot.holder
                && holder.is_of(claim.owner(), leased.token)
            {
                leased.taken |= holder.tell(granted.number);
            }
        }
    }

    /// Frees every hold in the scope that was there when the call began. Answers how many.
    pub(crate) fn release_all(&self, scope: &ReleaseScope) -> u64 {
        let (now, mut freed, mut awaited) = (Now::default(), 0, Vec::new());
        // A key that changes hands meanwhile has a token from here on up.
        let horizon = self.next_token.load(Ordering::Acquire);
        for shard in &self.shards {
            let free = |slot: &mut SlotMut<'_>| {
                let is_covered = slot.holder.as_ref().is_some_and(|holder| {
                    holder.token < horizon
                        && scope.covers(holder.owner.as_ref(), holder.kind())
                        && !holder.has_expired(&now)
                });
                if !is_covered {
                    return;
                }
                freed += 1;
                if let Some(loss) = slot.holder.take().and_then(|holder| holder.guard) {
                    loss.signal(LossReason::Revoked);
                }
                if !slot.queue.is_empty() {
                    awaited.push(slot.key.clone());
                }
            };
            match &scope.owner {
                Some(owner) => shard.lock().visit_owned(self.mark(Some(owner)), free),
                None => shard.lock().visit(free),
            }
        }
        self.settle(awaited);
        freed
    }
}

/// Whether a hold is the one that this key of a lease is about, and no successor.
fn is_of(holder: &Holder, lease: &Lease, leased: &LeasedKey) -> bool {
    holder.is_of(lease.owner.as_ref(), leased.token.get())
}
