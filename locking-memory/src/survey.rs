use locking_core::{LockInfo, LockKey};

use crate::claim::Now;
use crate::store::Store;

/// What is in the table, and what needn't be there any more.
impl Store {
    pub(crate) fn inspect(&self, key: &LockKey) -> Option<LockInfo> {
        let (now, hash) = (Now::default(), self.hash(key));
        let mut shard = self.shard(hash).lock();
        let mut slot = shard.slot(hash, key)?;
        let waiters = slot.queue.len();
        slot.current(&now).map(|holder| holder.info(key, waiters, &now))
    }

    pub(crate) fn list(&self) -> Vec<LockInfo> {
        let (now, mut holds) = (Now::default(), Vec::new());
        for shard in &self.shards {
            for slot in shard.lock().slots() {
                if let Some(holder) = slot.holder.as_ref().filter(|held| !held.has_expired(&now)) {
                    holds.push(holder.info(&slot.key, slot.queue.len(), &now));
                }
            }
        }
        holds.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        holds
    }

    /// Forgets holds whose time is over. Answers whether there are any left that will be.
    pub(crate) fn sweep(&self) -> bool {
        let (now, mut expiring, mut awaited) = (Now::default(), false, Vec::new());
        for shard in &self.shards {
            shard.lock().visit(|slot| {
                let has_ended = slot.holder.as_ref().is_some_and(|holder| holder.has_expired(&now));
                slot.end_expired(&now);
                if has_ended && !slot.queue.is_empty() {
                    awaited.push(slot.key.clone());
                }
                expiring |= slot.holder.as_ref().is_some_and(|holder| holder.expires.is_some());
            });
        }
        self.settle(awaited);
        expiring
    }

    /// How many keys the table has a slot for.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}
