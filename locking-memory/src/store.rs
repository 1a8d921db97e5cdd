use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{SystemTime, UNIX_EPOCH};

use foldhash::fast::RandomState;
use locking_core::{KeySet, LockKey, OwnerId};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::claim::{Claim, Now};
use crate::granted::Granted;
use crate::queue::{Client, Outcome, Waiter};
use crate::reminder::Reminders;
use crate::serve::Turn;
use crate::shard::{OwnerMark, Shard};
use crate::sweep::Sweeper;

const SHARDS: usize = 64;

/// The table of holds and waiters, shared by every client.
///
/// Four rules keep it right:
///
/// 1. A key's slot is read and changed under its shard's mutex; whoever needs several shards locks
///    them in the order of their numbers. A waiter's own mutex is taken last. Nothing waits for I/O
///    or a future under a mutex.
/// 2. Whoever frees a key *settles* it: hands it to the first waiter in its queue that can have all
///    its keys. A key that is free and has a queue is about to be settled by somebody, and nobody
///    who comes later is served before its queue.
/// 3. The first waiter of a queue wakes by the time at which the key's hold ends by itself, and
///    settles the key then.
/// 4. A waiter for several keys that was passed over too often has the keys that become free kept
///    for it for a moment. Only a waiter that came before it may take one of those meanwhile, and
///    when the moment is over anybody may: so nobody waits in a circle.
#[derive(Debug)]
pub(crate) struct Store {
    hasher: RandomState,
    pub(crate) shards: Box<[Mutex<Shard>]>,
    /// The next fencing token, drawn under the mutexes of the keys that it is for.
    pub(crate) next_token: AtomicU64,
    next_ticket: AtomicU64,
    pub(crate) sweeper: Sweeper,
    pub(crate) reminders: Reminders,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            next_token: AtomicU64::new(first_token()),
            next_ticket: AtomicU64::new(0),
            sweeper: Sweeper::new(),
            reminders: Reminders::default(),
        }
    }

    /// Serves a claim at once, or says which key is in the way.
    pub(crate) fn try_take<'c>(self: &Arc<Self>, claim: &'c Claim) -> Result<Granted, &'c LockKey> {
        let first = self.take(&mut self.lock(claim.keys()), claim, Turn::Last);
        let granted = match first {
            Err(blocked) if blocked.is_awaited => {
                // Free, but others were there first. What they leave is granted, whoever came
                // meanwhile.
                let keys = || claim.keys().iter().cloned().collect();
                self.settle(keys());
                let second = self.take(&mut self.lock(claim.keys()), claim, Turn::Next);
                self.settle(keys());
                second
            }
            first => first,
        };
        let granted = granted.map_err(|blocked| &claim.keys()[blocked.at])?;
        self.watch(&granted);
        Ok(granted)
    }

    /// Serves a claim at once, or queues it.
    pub(crate) fn take_or_queue(self: &Arc<Self>, claim: Claim, client: &Arc<Client>) -> Taking {
        let mut locked = self.lock(claim.keys());
        let blocked = match self.take(&mut locked, &claim, Turn::Last) {
            Ok(granted) => {
                drop(locked);
                self.watch(&granted);
                return Taking::Granted(granted, claim);
            }
            Err(blocked) => blocked,
        };
        // Under the mutex under which a close looks for its waiters.
        if client.is_refused() {
            return Taking::Closed(claim);
        }
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let since = self.next_token.load(Ordering::Relaxed);
        let mark = claim.shares().then(|| self.mark(claim.owner()));
        let mut slot = locked.shard(blocked.hash).slot_at(blocked.slot);
        // Also where it isn't the first: when it is, it needn't be woken to set its timer, unless the
        // hold in its way then ends sooner than the one now.
        let place = (blocked.at, slot.ends());
        let waiter = Arc::new(Waiter::new(claim, mark, ticket, since, client, place));
        slot.queue.insert(Arc::clone(&waiter));
        drop(locked);
        if blocked.is_awaited {
            self.settle(vec![waiter.claim.keys()[blocked.at].clone()]);
        }
        Taking::Queued(waiter)
    }

    /// Looks whether the hold that a waiter waits for has ended by itself, and when it will.
    pub(crate) fn look(&self, waiter: &Arc<Waiter>) {
        let Some(key) = waiter.queued_at() else { return };
        self.settle(vec![key.clone()]);
        let hash = self.hash(key);
        let mut shard = self.shard(hash).lock();
        if waiter.is_queued_at(key)
            && let Some(slot) = shard.slot(hash, key)
        {
            let is_first = slot.queue.first().is_some_and(|first| Arc::ptr_eq(first, waiter));
            waiter.look_at(slot.ends().filter(|_| is_first));
        }
    }

    /// Takes a waiter out of its queue, and says which key's that was; unless its wait is over
    /// already, then with what came of it.
    pub(crate) fn withdraw<'w>(&self, waiter: &'w Arc<Waiter>) -> Result<Outcome, &'w LockKey> {
        loop {
            let Some(key) = waiter.queued_at() else {
                // Told once, to its own task: nobody else asks.
                return Ok(waiter.take_outcome());
            };
            let hash = self.hash(key);
            let mut shard = self.shard(hash).lock();
            // It may have been moved or served since it was asked where it stands.
            if let Some(slot) = shard.slot(hash, key)
                && slot.queue.remove(waiter)
            {
                waiter.leave();
                slot.watch_expiry();
                shard.forget_if_unused(hash, key);
                drop(shard);
                self.stop_keeping(waiter);
                return Err(key);
            }
        }
    }

    /// The first key in byte order that a claim can't have; the key it waits for if all are free.
    pub(crate) fn blocking_key(&self, claim: &Claim, waited_for: &LockKey) -> LockKey {
        let (now, mut locked) = (Now::default(), self.lock(claim.keys()));
        let held = |key: &&LockKey| {
            let hash = self.hash(key);
            let holder = locked.shard(hash).slot(hash, key).and_then(|slot| slot.current(&now));
            holder.is_some_and(|holder| !claim.reenters(holder))
        };
        let mut keys = claim.keys().iter();
        keys.find(held).unwrap_or(waited_for).clone()
    }

    /// Grants nothing more to a client, and wakes its waiters with that.
    pub(crate) fn refuse(&self, client: &Client) {
        client.refuse();
        let mut left = Vec::new();
        for shard in &self.shards {
            shard.lock().visit(|slot| {
                let leaving = slot.queue.take_out(|waiter| waiter.client == client.number());
                left.extend(leaving.into_iter().map(|waiter| {
                    let waker = waiter.settle(Outcome::Closed);
                    (waiter, waker)
                }));
                slot.watch_expiry();
            });
        }
        for (waiter, waker) in left {
            self.stop_keeping(&waiter);
            wake(waker);
        }
    }

    /// Wakes those who wait without a timer and have something to do by then; whenever that is, where
    /// it isn't said. Answers whether any others are left.
    pub(crate) fn remind(&self, by: Option<Instant>) -> bool {
        let (mut is_any_left, mut due) = (false, Vec::new());
        for shard in &self.shards {
            for waiter in shard.lock().slots().flat_map(|slot| slot.queue.iter()) {
                is_any_left |= waiter.remind(by, &mut due);
            }
            due.drain(..).for_each(Waker::wake);
        }
        is_any_left
    }

    /// What expires is swept one day.
    pub(crate) fn watch(self: &Arc<Self>, granted: &Granted) {
        if let Some(now) = granted.since {
            self.sweeper.start(self, now);
        }
    }

    pub(crate) fn hash(&self, key: &LockKey) -> u64 {
        self.hasher.hash_one(key.as_str())
    }

    /// What is looked for in place of an owner; anonymous holders share one mark.
    pub(crate) fn mark(&self, owner: Option<&OwnerId>) -> OwnerMark {
        let mark = |owner: &OwnerId| OwnerMark(self.hasher.hash_one(owner.as_str()) as u32);
        owner.map(mark).unwrap_or_default()
    }

    pub(crate) fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[shard_of(hash)]
    }

    /// Locks the shards of these keys, in the order of their numbers.
    pub(crate) fn lock(&self, keys: &KeySet) -> Locked<'_> {
        if let [key] = &**keys {
            return self.lock_one(self.hash(key));
        }
        let mut numbers: Vec<usize> = keys.iter().map(|key| shard_of(self.hash(key))).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let lock = |number: usize| (number, self.shards[number].lock());
        Locked::Several(numbers.into_iter().map(lock).collect())
    }

    /// Locks the shard of one key.
    pub(crate) fn lock_one(&self, hash: u64) -> Locked<'_> {
        Locked::One { shard: self.shard(hash).lock(), hash }
    }
}

/// What came of asking for keys.
pub(crate) enum Taking {
    Granted(Granted, Claim),
    Queued(Arc<Waiter>),
    /// The client is closed.
    Closed(Claim),
}

/// The shard of a hash: bits that the table within the shard doesn't look at first.
fn shard_of(hash: u64) -> usize {
    usize::try_from((hash >> 32) % SHARDS as u64).unwrap_or(0)
}

/// The shards of a set of keys, locked.
pub(crate) enum Locked<'a> {
    /// That of one key, whose hash this is.
    One { shard: MutexGuard<'a, Shard>, hash: u64 },
    /// With their numbers, in order.
    Several(Vec<(usize, MutexGuard<'a, Shard>)>),
}

impl Locked<'_> {
    /// The shard of one of the keys.
    pub(crate) fn shard(&mut self, hash: u64) -> &mut Shard {
        match self {
            Self::One { shard, .. } => shard,
            Self::Several(shards) => {
                let at = shards.partition_point(|(number, _)| *number < shard_of(hash));
                &mut shards[at].1
            }
        }
    }
}

/// Wakes a task, if there is one.
pub(crate) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The wall clock's microseconds: tokens go on growing over a restart of the process, as long as
/// fewer than a million are drawn a second. No later decision looks at that clock.
fn first_token() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(1).max(1)
}
