use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use foldhash::fast::RandomState;
use locking_core::{
    Expiry, FencingToken, KeySet, Lease, LeasedKey, LockInfo, LockKey, LossReason, Moment, OwnerId,
    ReleaseScope,
};
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::claim::{Claim, Now};
use crate::holder::Holder;
use crate::queue::{Client, Granted, Outcome, Waiter};
use crate::shard::Shard;
use crate::sweep::Sweeper;

const SHARDS: usize = 64;

/// The table of holds and waiters, shared by every client.
///
/// Three rules keep it right:
///
/// 1. A key's slot is read and changed under its shard's mutex; whoever needs several shards locks
///    them in the order of their numbers. A waiter's own mutex is taken last. Nothing waits for I/O
///    or a future under a mutex.
/// 2. Whoever frees a key *settles* it: hands it to the first waiter in its queue that can have all
///    its keys. A key that is free and has a queue is about to be settled by somebody, and nobody
///    who comes later is served before its queue.
/// 3. The first waiter of a queue wakes by the time at which the key's hold ends by itself, and
///    settles the key then.
#[derive(Debug)]
pub(crate) struct Store {
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    /// The next fencing token, drawn under the mutexes of the keys that it is for.
    next_token: AtomicU64,
    next_ticket: AtomicU64,
    pub(crate) sweeper: Sweeper,
}

/// Why a claim isn't served at once.
#[derive(Debug)]
struct Blocked {
    /// The first blocking key in byte order.
    key: LockKey,
    /// Whether nobody holds it, but others wait and come first.
    awaited: bool,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            next_token: AtomicU64::new(first_token()),
            next_ticket: AtomicU64::new(0),
            sweeper: Sweeper::default(),
        }
    }

    /// Serves a claim at once, or says which key is in the way.
    pub(crate) fn try_take(self: &Arc<Self>, claim: &Claim) -> Result<Granted, LockKey> {
        let now = Now::default();
        let blocked = match self.take(&mut self.lock(&claim.keys), claim, &now, true) {
            Ok(granted) => return Ok(self.watched(claim, granted)),
            Err(blocked) => blocked,
        };
        if !blocked.awaited {
            return Err(blocked.key);
        }
        // Free, but others were there first. What they leave is granted, whoever came meanwhile.
        let keys = || claim.keys.iter().cloned().collect();
        self.settle(keys());
        let granted = self.take(&mut self.lock(&claim.keys), claim, &Now::default(), false);
        let granted = granted.map_err(|blocked| blocked.key)?;
        self.settle(keys());
        Ok(self.watched(claim, granted))
    }

    /// Serves a claim at once, or queues it. `Err`: its client is closed.
    pub(crate) fn take_or_queue(
        self: &Arc<Self>,
        claim: Claim,
        deadline: Option<Instant>,
        client: &Arc<Client>,
    ) -> Result<Granted, Option<Arc<Waiter>>> {
        let now = Now::default();
        let mut locked = self.lock(&claim.keys);
        let blocked = match self.take(&mut locked, &claim, &now, true) {
            Ok(granted) => {
                drop(locked);
                return Ok(self.watched(&claim, granted));
            }
            Err(blocked) => blocked,
        };
        // Under the mutex under which a close looks for its waiters.
        if client.is_closed() {
            return Err(None);
        }
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let client = Arc::clone(client);
        let waiter = Arc::new(Waiter::new(claim, ticket, deadline, client, blocked.key.clone()));
        self.enqueue(&mut locked, &waiter, &blocked.key);
        drop(locked);
        if blocked.awaited {
            self.settle(vec![blocked.key]);
        }
        Err(Some(waiter))
    }

    /// Looks whether the hold that a waiter waits for has ended by itself, and when it will.
    pub(crate) fn look(&self, waiter: &Arc<Waiter>) {
        let Some(key) = waiter.queued_at() else { return };
        self.settle(vec![key.clone()]);
        let hash = self.hash(&key);
        let mut shard = self.shard(hash).lock();
        if waiter.is_queued_at(&key)
            && let Some(slot) = shard.slot(hash, &key)
        {
            waiter.look_at(slot.holder.as_ref().and_then(|holder| holder.expires));
        }
    }

    /// Takes a waiter out of its queue, and says which key's that was; unless its wait is over
    /// already, then with what came of it.
    pub(crate) fn withdraw(&self, waiter: &Arc<Waiter>) -> Result<Outcome, LockKey> {
        loop {
            let Some(key) = waiter.queued_at() else {
                // Told once, to its own task: nobody else asks.
                return Ok(waiter.outcome().unwrap_or(Outcome::Closed));
            };
            let hash = self.hash(&key);
            let mut shard = self.shard(hash).lock();
            // It may have been moved or served since it was asked where it stands.
            if let Some(slot) = shard.slot(hash, &key)
                && slot.queue.remove(waiter)
            {
                waiter.leave();
                slot.watch_expiry();
                shard.forget_if_unused(hash, &key);
                return Err(key);
            }
        }
    }

    /// The first key in byte order that a claim can't have; the key it waits for if all are free.
    pub(crate) fn blocking_key(&self, claim: &Claim, waited_for: LockKey) -> LockKey {
        let (now, mut locked) = (Now::default(), self.lock(&claim.keys));
        let held = |key: &&LockKey| {
            let hash = self.hash(key);
            let holder = locked.shard(hash).slot(hash, key).and_then(|slot| slot.current(&now));
            holder.is_some_and(|holder| !claim.reenters(holder))
        };
        let mut keys = claim.keys.iter();
        keys.find(held).cloned().unwrap_or(waited_for)
    }

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
        drop(locked);
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

    pub(crate) fn inspect(&self, key: &LockKey) -> Option<LockInfo> {
        let (now, hash) = (Now::default(), self.hash(key));
        let mut shard = self.shard(hash).lock();
        let slot = shard.slot(hash, key)?;
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

    /// Wakes the waiters of a client that was closed.
    pub(crate) fn close(&self, client: &Arc<Client>) {
        client.close();
        for shard in &self.shards {
            let mut shard = shard.lock();
            for slot in shard.slots_mut() {
                let leaving = slot.queue.take_out(|waiter| Arc::ptr_eq(&waiter.client, client));
                for waiter in leaving {
                    waiter.settle(Outcome::Closed);
                }
                slot.watch_expiry();
            }
            shard.forget_unused();
        }
    }

    /// Forgets holds whose time is over. Answers whether there are any left that will be.
    pub(crate) fn sweep(&self) -> bool {
        let (now, mut expiring, mut awaited) = (Now::default(), false, Vec::new());
        for shard in &self.shards {
            let mut shard = shard.lock();
            let mut emptied = false;
            for slot in shard.slots_mut() {
                let ended = slot.holder.as_ref().is_some_and(|holder| holder.has_expired(&now));
                if ended && slot.queue.is_empty() {
                    slot.holder = None;
                    emptied = true;
                } else if ended {
                    awaited.push(slot.key.clone());
                }
                expiring |= slot.holder.as_ref().is_some_and(|holder| holder.expires.is_some());
            }
            if emptied {
                shard.forget_unused();
            }
        }
        self.settle(awaited);
        expiring
    }

    /// How many keys the table has a slot for.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Serves a claim whose shards are locked: all keys or none. `in_turn`: not before those who
    /// wait for one of them.
    fn take(
        &self,
        locked: &mut Locked<'_>,
        claim: &Claim,
        now: &Now,
        in_turn: bool,
    ) -> Result<Granted, Blocked> {
        let mut awaited = None;
        for key in &claim.keys {
            let hash = self.hash(key);
            let Some(slot) = locked.shard(hash).slot(hash, key) else { continue };
            let has_queue = !slot.queue.is_empty();
            match slot.current(now) {
                Some(holder) if !claim.reenters(holder) => {
                    return Err(Blocked { key: key.clone(), awaited: false });
                }
                None if has_queue && in_turn && awaited.is_none() => awaited = Some(key),
                _ => {}
            }
        }
        if let Some(key) = awaited {
            return Err(Blocked { key: key.clone(), awaited: true });
        }
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
                    LeasedKey::taken(key.clone(), FencingToken::new(token))
                }
            });
            slot.watch_expiry();
        }
        Ok(granted)
    }

    /// What expires is swept one day.
    fn watched(self: &Arc<Self>, claim: &Claim, granted: Granted) -> Granted {
        if claim.has_expiry() {
            self.sweeper.start(self);
        }
        granted
    }

    fn enqueue(&self, locked: &mut Locked<'_>, waiter: &Arc<Waiter>, key: &LockKey) {
        let hash = self.hash(key);
        let slot = locked.shard(hash).slot_or_new(hash, key);
        waiter.look_at(slot.holder.as_ref().and_then(|holder| holder.expires));
        slot.queue.insert(Arc::clone(waiter));
    }

    /// Hands free keys to those who wait for them, in turn.
    fn settle(&self, mut keys: Vec<LockKey>) {
        while let Some(key) = keys.pop() {
            while let Some(waiter) = self.next_served(&key) {
                keys.extend(self.serve(&waiter, &key));
            }
        }
    }

    /// The first waiter of a key that this key doesn't block any more.
    fn next_served(&self, key: &LockKey) -> Option<Arc<Waiter>> {
        let (now, hash) = (Now::default(), self.hash(key));
        let mut shard = self.shard(hash).lock();
        let slot = shard.slot(hash, key)?;
        let next = match slot.current(&now) {
            None => slot.queue.first().cloned(),
            // An owner's other requests are served with the first, whatever their turn.
            Some(holder) if holder.is_shared() => {
                let holder = slot.holder.as_ref()?;
                slot.queue.iter().find(|waiter| waiter.claim.reenters(holder)).cloned()
            }
            Some(_) => None,
        };
        if next.is_none() {
            slot.watch_expiry();
            shard.forget_if_unused(hash, key);
        }
        next
    }

    /// Serves a waiter in the queue of `at`, or moves it to the queue of the key that blocks it
    /// now. Answers the other keys whose waiters may be served with it.
    fn serve(&self, waiter: &Arc<Waiter>, at: &LockKey) -> Vec<LockKey> {
        let (now, mut locked) = (Now::default(), self.lock(&waiter.claim.keys));
        if !waiter.is_queued_at(at) {
            return Vec::new();
        }
        let hash = self.hash(at);
        match self.take(&mut locked, &waiter.claim, &now, false) {
            Ok(granted) => {
                if let Some(slot) = locked.shard(hash).slot(hash, at) {
                    slot.queue.remove(waiter);
                    slot.watch_expiry();
                }
                waiter.settle(Outcome::Granted(granted));
                let others = waiter.claim.keys.iter().filter(|key| *key != at);
                others.filter(|_| waiter.claim.shares()).cloned().collect()
            }
            Err(blocked) if blocked.key == *at => Vec::new(),
            Err(blocked) => {
                let shard = locked.shard(hash);
                if let Some(slot) = shard.slot(hash, at) {
                    slot.queue.remove(waiter);
                    shard.forget_if_unused(hash, at);
                }
                // A close may have looked at that queue already.
                if waiter.client.is_closed() {
                    waiter.settle(Outcome::Closed);
                } else {
                    waiter.move_to(&blocked.key);
                    self.enqueue(&mut locked, waiter, &blocked.key);
                    waiter.rearm();
                }
                Vec::new()
            }
        }
    }

    fn hash(&self, key: &LockKey) -> u64 {
        self.hasher.hash_one(key.as_str())
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[shard_of(hash)]
    }

    /// Locks the shards of these keys, in the order of their numbers.
    fn lock(&self, keys: &KeySet) -> Locked<'_> {
        let mut numbers: SmallVec<[usize; 4]> =
            keys.iter().map(|key| shard_of(self.hash(key))).collect();
        numbers.sort_unstable();
        numbers.dedup();
        Locked(numbers.into_iter().map(|number| (number, self.shards[number].lock())).collect())
    }
}

/// The shard of a hash: bits that the table within the shard doesn't look at first.
fn shard_of(hash: u64) -> usize {
    usize::try_from((hash >> 32) % SHARDS as u64).unwrap_or(0)
}

/// The shards of a set of keys, locked.
struct Locked<'a>(SmallVec<[(usize, MutexGuard<'a, Shard>); 1]>);

impl Locked<'_> {
    /// The shard of one of the keys.
    fn shard(&mut self, hash: u64) -> &mut Shard {
        let number = shard_of(hash);
        let at = self.0.partition_point(|(locked, _)| *locked < number);
        &mut self.0[at].1
    }
}

/// The wall clock's microseconds: tokens go on growing over a restart of the process, as long as
/// fewer than a million are drawn a second. No later decision looks at that clock.
fn first_token() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(1).max(1)
}
