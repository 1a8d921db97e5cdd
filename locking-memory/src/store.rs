use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::{SystemTime, UNIX_EPOCH};

use foldhash::fast::RandomState;
use locking_core::{Error, Grant, KeySet, LockKey, OwnerId, ProviderId};
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Id;
use tokio::time::Instant;

use crate::claim::{Claim, Now};
use crate::client::Client;
use crate::granted::Granted;
use crate::reminder::Reminders;
use crate::seat::{Place, Seat};
use crate::serve::Turn;
use crate::shard::{OwnerMark, Reminded, Shard};
use crate::sweep::Sweeper;
use crate::waiter::{Outcome, Waiter, Waits};

const SHARDS: usize = 64;

/// The table of holds and waiters, shared by every client.
///
/// Four rules keep it right:
///
/// 1. A key's slot, and who waits for the key, is read and changed under its shard's mutex; whoever
///    needs several shards locks them in the order of their numbers. Where a waiter that is moved lies
///    is looked up last. Nothing waits for I/O or a future under a mutex.
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

    /// Serves a claim at once, or says why it can't.
    pub(crate) fn try_take<'c>(
        self: &Arc<Self>,
        claim: &'c Claim,
        client: &Client,
    ) -> Result<Granted, Untaken<'c>> {
        let take = |turn| {
            let mut locked = self.lock(claim.keys());
            (!client.is_refused()).then(|| self.take(&mut locked, claim, turn))
        };
        let taken = match take(Turn::Last) {
            Some(Err(blocked)) if blocked.is_awaited => {
                // Free, but others were there first. What they leave is granted, whoever came
                // meanwhile.
                let keys = || claim.keys().iter().cloned().collect();
                self.settle(keys());
                let second = take(Turn::Next);
                self.settle(keys());
                second
            }
            first => first,
        };
        let taken = taken.ok_or(Untaken::Closed)?;
        let granted = taken.map_err(|blocked| Untaken::Held(&claim.keys()[blocked.at]))?;
        self.watch(granted.since);
        Ok(granted)
    }

    /// Serves a claim at once, or queues it: then its task is woken when what its wait comes to changes.
    pub(crate) fn take_or_queue(
        self: &Arc<Self>,
        claim: Claim,
        client: &Arc<Client>,
        waker: &Waker,
    ) -> Taking {
        let mut locked = self.lock(claim.keys());
        if client.is_refused() {
            return Taking::Closed(claim);
        }
        let blocked = match self.take(&mut locked, &claim, Turn::Last) {
            Ok(granted) => {
                drop(locked);
                self.watch(granted.since);
                return Taking::Granted(granted, claim);
            }
            Err(blocked) => blocked,
        };
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let since = self.next_token.load(Ordering::Relaxed);
        let mark = claim.shares().then(|| self.mark(claim.owner()));
        let awaited = blocked.is_awaited.then(|| claim.keys()[blocked.at].clone());
        let shard = locked.shard(blocked.hash);
        // Also where it isn't the first: when it is, it needn't be woken to set its timer, unless the
        // hold in its way then ends sooner than the one now.
        let place = (blocked.at, shard.slot_at(blocked.slot).ends());
        let waiter = Waiter::new(claim, (ticket, since), mark, client, place, waker.clone());
        let waiter = Box::new(waiter);
        let deadline = waiter.claim.deadline();
        let wakes_in_time = waiter.wakes_at().is_none_or(|at| shard.reminds_in_time(at));
        let seat = shard.slot_at(blocked.slot).queue(waiter);
        drop(locked);
        if let Some(key) = awaited {
            self.settle(vec![key]);
        }
        Taking::Queued { seat, deadline, wakes_in_time }
    }

    /// How a waiter waits; or the waiter, once its wait is over. Its task is woken when that changes.
    pub(crate) fn poll(
        &self,
        seat: &Seat,
        context: &Context<'_>,
        is_timed: bool,
    ) -> Result<Box<Waiter>, Waits> {
        let (mut shard, place) = self.lock_seat(seat);
        match shard.waiters[place.at].poll(context, is_timed) {
            Some(waits) => Err(waits),
            None => Ok(shard.lift(place.at)),
        }
    }

    /// The answer to a waiter whose wait is over.
    pub(crate) fn answer(
        self: &Arc<Self>,
        waiter: &mut Waiter,
        provider: &ProviderId,
    ) -> Result<Grant, Error> {
        match waiter.outcome() {
            (claim, Some(Outcome::Granted(granted))) => {
                self.tell(claim, granted);
                self.watch(granted.since);
                Ok(granted.to_grant(claim, provider))
            }
            (claim, _) => Err(Error::closed(provider).about(claim.keys())),
        }
    }

    /// Looks whether the hold that a waiter waits for has ended by itself, and when it will.
    pub(crate) fn look(&self, seat: &Seat) {
        let waited_for = {
            let (shard, place) = self.lock_seat(seat);
            let waiter = &shard.waiters[place.at];
            waiter.is_queued().then(|| waiter.key().clone())
        };
        self.settle(waited_for.into_iter().collect());
        let (mut shard, place) = self.lock_seat(seat);
        let waiter = &shard.waiters[place.at];
        if !waiter.is_queued() {
            return;
        }
        let (key, ticket) = (waiter.key().clone(), waiter.ticket);
        let ends = shard.slot(place.hash, &key).and_then(|slot| {
            let is_first = slot.queue.first().is_some_and(|first| first.ticket == ticket);
            slot.ends().filter(|_| is_first)
        });
        shard.waiters[place.at].look_at(ends);
    }

    /// Takes a waiter away: out of its queue, as which it is still told then, or with what came of its wait.
    pub(crate) fn withdraw(&self, seat: &Seat) -> Box<Waiter> {
        let (mut shard, place) = self.lock_seat(seat);
        let waiter = shard.lift(place.at);
        if !waiter.is_queued() {
            return waiter;
        }
        shard.leave(place.hash, &waiter);
        drop(shard);
        if let Some(keys) = waiter.kept_keys() {
            self.stop_keeping(&keys, waiter.ticket);
        }
        waiter
    }

    /// The first key in byte order that a claim can't have; the key it waits for if all are free.
    pub(crate) fn blocking_key(&self, claim: &Claim, waited_for: &LockKey) -> LockKey {
        let (now, mut locked) = (Now::default(), self.lock(claim.keys()));
        let held = |key: &&LockKey| {
            let hash = self.hash(key);
            let slot = locked.shard(hash).slot(hash, key);
            slot.is_some_and(|mut slot| {
                slot.current(&now).is_some_and(|held| !claim.reenters(held))
            })
        };
        let mut keys = claim.keys().iter();
        keys.find(held).unwrap_or(waited_for).clone()
    }

    /// Grants nothing more to a client, and wakes its waiters with that. Whoever asks for it looks whether it is refused
    /// under a mutex that this takes: so nothing is granted to it after this has returned.
    pub(crate) fn refuse(&self, client: &Client) {
        client.refuse();
        let mut left = Vec::new();
        for shard in &self.shards {
            shard.lock().visit(|slot| {
                let is_its_own = |waiter: &Waiter| waiter.client == client.number();
                for queued in slot.slot.queue.take_out(slot.waiters, is_its_own) {
                    let waiter = &mut slot.waiters[queued.at];
                    let kept = waiter.kept_keys();
                    left.push((waiter.end(Outcome::Closed), waiter.ticket, kept));
                }
                slot.watch_expiry();
            });
        }
        for (waker, ticket, kept) in left {
            if let Some(keys) = kept {
                self.stop_keeping(&keys, ticket);
            }
            wake(waker);
        }
    }

    /// Wakes those who wait without a timer and have something to do by then, and notes that those who come are
    /// reminded in this runtime from then on. With no such time all of them are woken, and nobody is reminded there any
    /// more. Answers whether any others are left.
    pub(crate) fn remind(&self, runtime: Id, by: Option<Instant>) -> bool {
        let (mut is_any_left, mut due) = (false, Vec::new());
        for shard in &self.shards {
            let mut shard = shard.lock();
            // Under the mutex under which they count on it.
            shard.reminded.retain(|reminded| reminded.runtime != runtime);
            shard.reminded.extend(by.map(|from| Reminded { runtime, from }));
            let queued = shard.slots().flat_map(|slot| slot.queue.iter());
            for waiter in queued.map(|queued| &shard.waiters[queued.at]) {
                is_any_left |= waiter.remind(by, &mut due);
            }
            drop(shard);
            due.drain(..).for_each(Waker::wake);
        }
        is_any_left
    }

    /// What expires is swept one day.
    fn watch(self: &Arc<Self>, since: Option<Instant>) {
        if let Some(now) = since {
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

    /// Locks the shard in which a waiter lies, for its own task.
    fn lock_seat(&self, seat: &Seat) -> (MutexGuard<'_, Shard>, Place) {
        loop {
            let place = seat.place();
            let shard = self.shard(place.hash).lock();
            // It may have been moved since it was asked.
            if seat.place() == place {
                return (shard, place);
            }
        }
    }

    /// Locks the shard of one key.
    pub(crate) fn lock_one(&self, hash: u64) -> Locked<'_> {
        Locked::One { shard: self.shard(hash).lock(), hash }
    }
}

/// Why a claim that doesn't wait isn't served.
#[derive(Debug)]
pub(crate) enum Untaken<'c> {
    /// This key is in the way.
    Held(&'c LockKey),
    /// The client is closed.
    Closed,
}

/// What came of asking for keys.
pub(crate) enum Taking {
    Granted(Granted, Claim),
    /// It waits until the deadline; `wakes_in_time` if it is woken before anything that it must do by itself.
    Queued {
        seat: Seat,
        deadline: Option<Instant>,
        wakes_in_time: bool,
    },
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
