use std::sync::atomic::Ordering;

use locking_core::{Expiry, KeySet, Lease, LeasedKey, LockKey, LossReason, OwnerId, ReleaseScope};
use smallvec::SmallVec;

use crate::claim::{Claim, Now};
use crate::holder::Holder;
use crate::queue::Granted;
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
        let taken: SmallVec<[&LeasedKey; 1]> = lease.taken().collect();
        if taken.is_empty() {
            return Ok(());
        }
        let keys = lease.key_set();
        let missing =
            self.free_where(taken.iter().map(|leased| &leased.key), &keys, |at, holder| {
                holder.token == taken[at].token.get() && holder.owner == lease.owner
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
        let (now, mut missing, mut awaited) = (Now::default(), None, Vec::new());
        let mut locked = self.lock(all);
        for (at, key) in keys.enumerate() {
            let hash = self.hash(key);
            let shard = locked.shard(hash);
            let freed = shard.slot(hash, key).is_some_and(|slot| {
                let frees = slot.current(&now).is_some_and(|holder| passes(at, holder));
                if frees {
                    slot.holder = None;
                    if !slot.queue.is_empty() {
                        awaited.push(key.clone());
                    }
                }
                frees
            });
            if freed {
                shard.forget_if_unused(hash, key);
            } else if missing.is_none() {
                missing = Some(key.clone());
            }
        }
        match (all.len(), awaited.pop()) {
            (_, None) => {}
            // The usual case: the hand-off takes no second lock.
            (1, Some(key)) => self.settle_locked(locked, &key, &mut awaited),
            (_, Some(key)) => {
                drop(locked);
                awaited.push(key);
            }
        }
        self.settle(awaited);
        missing
    }

    /// Sets the remaining time of every key of a lease, or of none. `Err`: the first key that it no
    /// longer holds.
    pub(crate) fn extend(&self, lease: &Lease, expiry: Expiry) -> Result<(), LockKey> {
        let (now, mut locked) = (Now::default(), self.lock(&lease.key_set()));
        for leased in lease.keys() {
            let hash = self.hash(&leased.key);
            let slot = locked.shard(hash).slot(hash, &leased.key);
            let holder = slot.and_then(|slot| slot.current(&now));
            let holds = holder.is_some_and(|holder| {
                holder.token == leased.token.get() && holder.owner == lease.owner
            });
            if !holds {
                return Err(leased.key.clone());
            }
        }
        let expires = now.get() + expiry.get();
        for leased in lease.keys() {
            let hash = self.hash(&leased.key);
            if let Some(slot) = locked.shard(hash).slot(hash, &leased.key) {
                if let Some(holder) = &mut slot.holder {
                    holder.expires = Some(expires);
                }
                slot.watch_expiry();
            }
        }
        Ok(())
    }

    /// Undoes a grant whose waiter has gone: frees what it took, and takes back what it extended.
    pub(crate) fn undo(&self, claim: &Claim, granted: Granted) {
        let mut locked = self.lock(&claim.keys);
        let expires = granted.extended;
        for (key, before) in expires {
            let hash = self.hash(&key);
            let token = granted.keys.iter().find(|leased| leased.key == key);
            if let Some(slot) = locked.shard(hash).slot(hash, &key) {
                if let Some(holder) = &mut slot.holder
                    && token.is_some_and(|leased| leased.token.get() == holder.token)
                {
                    holder.expires = Some(before);
                }
                slot.watch_expiry();
            }
        }
        drop(locked);
        let taken: SmallVec<[&LeasedKey; 1]> =
            granted.keys.iter().filter(|leased| leased.taken).collect();
        self.free_where(taken.iter().map(|leased| &leased.key), &claim.keys, |at, holder| {
            holder.token == taken[at].token.get()
        });
    }

    /// Frees every hold in the scope that was there when the call began. Answers how many.
    pub(crate) fn release_all(&self, scope: &ReleaseScope) -> u64 {
        let (now, mut freed, mut awaited) = (Now::default(), 0, Vec::new());
        // A key that changes hands meanwhile has a token from here on up.
        let horizon = self.next_token.load(Ordering::Acquire);
        for shard in &self.shards {
            let mut shard = shard.lock();
            let mut emptied = false;
            for slot in shard.slots_mut() {
                let covered = slot.holder.as_ref().is_some_and(|holder| {
                    holder.token < horizon
                        && scope.covers(holder.owner.as_ref(), holder.kind())
                        && !holder.has_expired(&now)
                });
                if !covered {
                    continue;
                }
                freed += 1;
                if let Some(loss) = slot.holder.take().and_then(|holder| holder.guard) {
                    loss.signal(LossReason::Revoked);
                }
                if slot.queue.is_empty() {
                    emptied = true;
                } else {
                    awaited.push(slot.key.clone());
                }
            }
            if emptied {
                shard.forget_unused();
            }
        }
        self.settle(awaited);
        freed
    }
}
