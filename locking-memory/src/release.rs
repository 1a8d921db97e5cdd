use std::sync::Arc;
use std::sync::atomic::Ordering;

use locking_core::{Expiry, KeySet, Lease, LeasedKey, LockKey, LossReason, OwnerId, ReleaseScope};

use crate::claim::{Claim, Now};
use crate::holder::Holder;
use crate::queue::Granted;
use crate::shard::{Freed, Slot};
use crate::store::Store;

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
            let held = |holder: &Holder| holder.is_of(lease, leased);
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
                holder.is_of(lease, taken[at])
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
                Freed::Awaited => awaited.push(key.clone()),
            }
        }
        drop(locked);
        self.settle(awaited);
        missing
    }

    /// The usual case: one key, looked up once, and handed on under the same lock.
    fn free_one(&self, key: &LockKey, passes: impl FnOnce(&Holder) -> bool) -> bool {
        let (now, hash) = (Now::default(), self.hash(key));
        let mut locked = self.lock_one(hash);
        match locked.shard(hash).free(hash, key, &now, |holder| passes(holder)) {
            Freed::No => return false,
            Freed::Yes => {}
            Freed::Awaited => {
                let mut others = Vec::new();
                self.settle_locked(locked, key, &mut others);
                self.settle(others);
            }
        }
        true
    }

    /// Sets the remaining time of every key of a lease, or of none. `Err`: the first key that it no
    /// longer holds.
    pub(crate) fn extend(self: &Arc<Self>, lease: &Lease, expiry: Expiry) -> Result<(), LockKey> {
        let (now, mut locked) = (Now::default(), self.lock(&lease.key_set()));
        for leased in lease.keys() {
            let hash = self.hash(&leased.key);
            let slot = locked.shard(hash).slot(hash, &leased.key);
            let holder = slot.and_then(|slot| slot.current(&now));
            if !holder.is_some_and(|holder| holder.is_of(lease, leased)) {
                return Err(leased.key.clone());
            }
        }
        let expires = now.get() + expiry.get();
        for leased in lease.keys() {
            let hash = self.hash(&leased.key);
            if let Some(slot) = locked.shard(hash).slot(hash, &leased.key) {
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
        let mut locked = self.lock(&claim.keys);
        for leased in granted.lease.keys() {
            let hash = self.hash(&leased.key);
            let is_nobodys = |holder: &mut Holder| {
                holder.is_of(&granted.lease, leased) && !holder.give_up(granted.number)
            };
            let shard = locked.shard(hash);
            shard.free(hash, &leased.key, &now, is_nobodys);
            let Some(slot) = shard.slot(hash, &leased.key) else { continue };
            // It may also have ended without anybody's looking, or end sooner now.
            if slot.current(&now).is_none() {
                awaited.push(leased.key.clone());
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
        if granted.lease.keys().iter().all(|leased| leased.taken) {
            return;
        }
        let (mut leased, mut locked) = (granted.lease.keys().to_vec(), self.lock(&claim.keys));
        for leased in &mut leased {
            let hash = self.hash(&leased.key);
            let slot = locked.shard(hash).slot(hash, &leased.key);
            if let Some(holder) = slot.and_then(|slot| slot.holder.as_mut())
                && holder.is_of(&granted.lease, leased)
            {
                leased.taken |= holder.tell(granted.number);
            }
        }
        granted.lease = claim.lease(leased);
    }

    /// Frees every hold in the scope that was there when the call began. Answers how many.
    pub(crate) fn release_all(&self, scope: &ReleaseScope) -> u64 {
        let (now, mut freed, mut awaited) = (Now::default(), 0, Vec::new());
        // A key that changes hands meanwhile has a token from here on up.
        let horizon = self.next_token.load(Ordering::Acquire);
        for shard in &self.shards {
            let free = |slot: &mut Slot| {
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
