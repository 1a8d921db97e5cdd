use std::ops::{Deref, DerefMut};
use std::task::Waker;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use locking_core::{LockKey, LossReason};
use slab::Slab;
use tokio::runtime::{Handle, Id};
use tokio::time::Instant;

use crate::claim::{Claim, Now};
use crate::granted::{GrantedKey, Terms};
use crate::holder::Holder;
use crate::queue::{Queue, Queued};
use crate::seat::{Place, Seat};
use crate::serve::{Blocked, Turn};
use crate::waiter::{Outcome, Waiter};

/// From how many on a table gives memory back that it doesn't need any more.
const MANY: usize = 64;

/// A part of the store's table, under one mutex.
///
/// Padded to its own cache lines, so that neighbours don't slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Shard {
    /// Where the slots are, by the hashes of their keys.
    places: HashTable<usize>,
    slots: Vec<Slot>,
    /// Each slot's last owner, in the order of the slots: whoever looks for an owner's holds reads
    /// these few bytes, and no other slot.
    owners: Vec<OwnerMark>,
    /// Those who wait for one of the keys, and those who did and weren't told yet what came of it.
    pub(crate) waiters: Slab<Box<Waiter>>,
    /// In which runtimes those are reminded who must wake by themselves then or later.
    pub(crate) reminded: Vec<Reminded>,
}

/// A runtime with a reminder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reminded {
    pub(crate) runtime: Id,
    pub(crate) from: Instant,
}

/// What an owner's text comes to in four bytes. Others may have the same one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct OwnerMark(pub(crate) u32);

/// A slot, with what a grant changes beside it.
#[derive(Debug)]
pub(crate) struct SlotMut<'a> {
    /// Its number in its shard.
    at: usize,
    pub(crate) slot: &'a mut Slot,
    pub(crate) owner: &'a mut OwnerMark,
    pub(crate) waiters: &'a mut Slab<Box<Waiter>>,
}

/// For whom a free key is kept, and until when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) ticket: u64,
    pub(crate) until: Instant,
}

/// What came of freeing a key.
pub(crate) enum Freed<'a> {
    /// It isn't held, or not by whom it should be.
    No,
    /// Nobody waits for it: it is forgotten.
    Yes,
    /// Somebody waits for it: it is to be settled.
    Awaited(SlotMut<'a>),
}

/// A key that is held, waited for, or both.
#[derive(Debug)]
pub(crate) struct Slot {
    hash: u64,
    pub(crate) key: LockKey,
    pub(crate) holder: Option<Holder>,
    pub(crate) queue: Queue,
    /// The waiter for several keys that nobody who came after it may take this one from, and until
    /// when.
    pub(crate) kept_for: Option<Box<Kept>>,
}

impl Shard {
    pub(crate) fn slot(&mut self, hash: u64, key: &LockKey) -> Option<SlotMut<'_>> {
        let at = self.find(hash, key)?;
        Some(self.slot_at(at))
    }

    /// The slot of a key, made if it isn't there. Who asks for it fills it.
    pub(crate) fn slot_or_new(&mut self, hash: u64, key: &LockKey) -> SlotMut<'_> {
        let Self { places, slots, owners, .. } = self;
        let at = match places.entry(hash, |at| slots[*at].key == *key, |at| slots[*at].hash) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(place) => {
                let at = *place.insert(slots.len()).get();
                slots.push(Slot::new(hash, key.clone()));
                owners.push(OwnerMark::default());
                at
            }
        };
        self.slot_at(at)
    }

    /// Frees a key whose holder passes the test.
    pub(crate) fn free(
        &mut self,
        hash: u64,
        key: &LockKey,
        now: &Now,
        passes: impl FnOnce(&mut Holder) -> bool,
    ) -> Freed<'_> {
        let found = self.places.find_entry(hash, |at| self.slots[*at].key == *key);
        let Ok(place) = found else { return Freed::No };
        let at = *place.get();
        let slot = &mut self.slots[at];
        if !slot.current(now).is_some_and(passes) {
            return Freed::No;
        }
        // Given back by its guard, or by somebody who had its lease: then it must know.
        if let Some(loss) = slot.holder.take().and_then(|holder| holder.guard) {
            loss.signal(LossReason::Revoked);
        }
        if !slot.queue.is_empty() {
            return Freed::Awaited(self.slot_at(at));
        }
        place.remove();
        self.close_gap(at);
        self.give_memory_back();
        Freed::Yes
    }

    /// Forgets a key that nobody holds or waits for.
    pub(crate) fn forget_if_unused(&mut self, hash: u64, key: &LockKey) {
        if let Some(at) = self.find(hash, key)
            && self.slots[at].is_unused()
        {
            self.remove(at);
        }
        self.give_memory_back();
    }

    /// Ends the wait of a waiter in the queue of a key. Answers whom to wake.
    pub(crate) fn end_wait(
        &mut self,
        hash: u64,
        key: &LockKey,
        queued: Queued,
        outcome: Outcome,
    ) -> Option<Waker> {
        let slot = self.slot(hash, key)?;
        let waiter = &mut slot.waiters[queued.at];
        slot.slot.queue.remove(waiter);
        let waker = waiter.end(outcome);
        self.tidy(hash, key);
        waker
    }

    /// Takes a waiter that was taken away here out of its queue, too.
    pub(crate) fn leave(&mut self, hash: u64, waiter: &Waiter) {
        let key = waiter.key();
        if let Some(mut slot) = self.slot(hash, key) {
            slot.queue.remove(waiter);
        }
        self.tidy(hash, key);
    }

    /// After somebody has left the queue of a key: sees to it that the next one looks, and forgets the key if nobody
    /// needs it any more.
    pub(crate) fn tidy(&mut self, hash: u64, key: &LockKey) {
        if let Some(mut slot) = self.slot(hash, key) {
            slot.watch_expiry();
        }
        self.forget_if_unused(hash, key);
    }

    /// Takes a waiter away. The room for many is given back once there are none: numbers stay whose they are.
    pub(crate) fn lift(&mut self, at: usize) -> Box<Waiter> {
        let waiter = self.waiters.remove(at);
        if self.waiters.is_empty() && self.waiters.capacity() > MANY {
            self.waiters = Slab::new();
        }
        waiter
    }

    /// Whether a waiter that must wake by itself then is woken before that, in the runtime that polls it now.
    pub(crate) fn reminds_in_time(&self, at: Instant) -> bool {
        let Ok(runtime) = Handle::try_current() else { return false };
        let runtime = runtime.id();
        self.reminded.iter().any(|reminded| reminded.runtime == runtime && reminded.from <= at)
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// Visits every slot, and forgets those that nobody holds or waits for after that.
    pub(crate) fn visit(&mut self, visit: impl FnMut(&mut SlotMut<'_>)) {
        self.visit_where(|_| true, visit);
    }

    /// The same for those that an owner of this mark holds, and perhaps others.
    pub(crate) fn visit_owned(&mut self, mark: OwnerMark, visit: impl FnMut(&mut SlotMut<'_>)) {
        self.visit_where(|owner| owner == mark, visit);
    }

    fn visit_where(
        &mut self,
        is_meant: impl Fn(OwnerMark) -> bool,
        mut visit: impl FnMut(&mut SlotMut<'_>),
    ) {
        // From the back: what takes the place of a slot that is forgotten has had its turn.
        for at in (0..self.slots.len()).rev() {
            if !is_meant(self.owners[at]) {
                continue;
            }
            visit(&mut self.slot_at(at));
            if self.slots[at].is_unused() {
                self.remove(at);
            }
        }
        self.give_memory_back();
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    fn find(&self, hash: u64, key: &LockKey) -> Option<usize> {
        self.places.find(hash, |at| self.slots[*at].key == *key).copied()
    }

    /// The slot of this number. They change when one is forgotten.
    pub(crate) fn slot_at(&mut self, at: usize) -> SlotMut<'_> {
        let Self { slots, owners, waiters, .. } = self;
        SlotMut { at, slot: &mut slots[at], owner: &mut owners[at], waiters }
    }

    fn remove(&mut self, at: usize) {
        if let Ok(place) = self.places.find_entry(self.slots[at].hash, |place| *place == at) {
            place.remove();
        }
        self.close_gap(at);
    }

    /// Drops a slot that has no place any more; the last one takes its place.
    fn close_gap(&mut self, at: usize) {
        self.slots.swap_remove(at);
        self.owners.swap_remove(at);
        if let Some(moved) = self.slots.get(at) {
            let was_at = self.slots.len();
            if let Some(place) = self.places.find_mut(moved.hash, |place| *place == was_at) {
                *place = at;
            }
        }
    }

    /// A table that was large once doesn't stay so.
    fn give_memory_back(&mut self) {
        if self.slots.capacity() > MANY && self.slots.len() < self.slots.capacity() / 8 {
            let enough = self.slots.len() * 2;
            self.slots.shrink_to(enough);
            self.owners.shrink_to(enough);
            self.places.shrink_to(enough, |at| self.slots[*at].hash);
        }
    }
}

impl SlotMut<'_> {
    /// The mark of the holder's owner.
    pub(crate) fn mark(&self) -> OwnerMark {
        *self.owner
    }

    /// Puts a waiter into the queue. Answers how its own task finds it.
    pub(crate) fn queue(&mut self, waiter: Box<Waiter>) -> Seat {
        let seat = self.waiters.vacant_entry();
        let place = Place { hash: self.slot.hash, at: seat.key() };
        self.slot.queue.insert(&waiter, place.at);
        let found = waiter.lies_at(place);
        seat.insert(waiter);
        found
    }

    /// Sees to it that somebody looks when the holder's time is over, or the key isn't kept any
    /// more; now, if the key is free.
    pub(crate) fn watch_expiry(&mut self) {
        self.slot.watch_expiry(self.waiters);
    }

    /// Whether a claim may have this key, the one at `at` among its keys. The others are looked at by the
    /// caller.
    pub(crate) fn check(
        &mut self,
        claim: &Claim,
        at: usize,
        turn: Turn,
        now: &Now,
    ) -> Result<(), Blocked> {
        let (has_first, is_kept) = (self.has_one_before(turn), self.is_kept_from(turn));
        let (token, is_awaited) = match self.current(now) {
            Some(holder) if claim.reenters(holder) => return Ok(()),
            Some(holder) => (Some(holder.token), false),
            None if is_kept => (None, false),
            None if has_first => (None, true),
            None => return Ok(()),
        };
        Err(Blocked { at, hash: self.hash, slot: self.at, is_awaited, token })
    }
}

impl Deref for SlotMut<'_> {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        self.slot
    }
}

impl DerefMut for SlotMut<'_> {
    fn deref_mut(&mut self) -> &mut Slot {
        self.slot
    }
}

impl Slot {
    fn new(hash: u64, key: LockKey) -> Self {
        Self { hash, key, holder: None, queue: Queue::default(), kept_for: None }
    }

    /// Gives the key to a claim that may have it.
    pub(crate) fn grant(
        &mut self,
        owner: &mut OwnerMark,
        claim: &Claim,
        mark: OwnerMark,
        terms: &Terms,
    ) -> GrantedKey {
        match &mut self.holder {
            Some(holder) => {
                holder.reenter(terms.number, terms.expires, terms.is_told);
                GrantedKey { token: holder.token, taken: false }
            }
            free => {
                *free = Some(claim.holder(terms.number, terms.expires));
                self.kept_for = None;
                *owner = mark;
                GrantedKey { token: terms.number, taken: true }
            }
        }
    }

    /// The holder, unless its time is over; then the key is free from here on.
    pub(crate) fn current(&mut self, now: &Now) -> Option<&mut Holder> {
        self.end_expired(now);
        self.holder.as_mut()
    }

    /// Frees the key if the holder's time is over. A guard whose lease somebody shortened doesn't know.
    pub(crate) fn end_expired(&mut self, now: &Now) {
        let expired = self.holder.take_if(|holder| holder.has_expired(now));
        if let Some(loss) = expired.and_then(|holder| holder.guard) {
            loss.signal(LossReason::Expired);
        }
    }

    /// Whether the key is kept for somebody who came before.
    pub(crate) fn is_kept_from(&self, turn: Turn) -> bool {
        let kept = self.kept_for.as_ref().filter(|kept| kept.until > Instant::now());
        kept.is_some_and(|kept| match turn {
            Turn::Ticket(ticket) => kept.ticket < ticket,
            Turn::Last | Turn::Next => true,
        })
    }

    /// Whether somebody in the queue comes first.
    fn has_one_before(&self, turn: Turn) -> bool {
        match turn {
            Turn::Last => !self.queue.is_empty(),
            Turn::Next => false,
            Turn::Ticket(ticket) => self.queue.first().is_some_and(|first| first.ticket < ticket),
        }
    }

    fn is_unused(&self) -> bool {
        self.holder.is_none() && self.queue.is_empty() && self.kept_for.is_none()
    }

    fn watch_expiry(&self, waiters: &mut Slab<Box<Waiter>>) {
        let Some(first) = self.queue.first() else { return };
        let first = &mut waiters[first.at];
        if let Some(ends) = self.ends() {
            first.look_by(ends);
        } else if self.holder.is_none() {
            // Whoever found its hold ended didn't settle it, and the one that was to wake then has left.
            first.look_by(Instant::now());
        }
    }

    /// When what is in the way of those who wait ends by itself.
    pub(crate) fn ends(&self) -> Option<Instant> {
        match &self.holder {
            Some(holder) => holder.expires,
            None => self.kept_for.as_ref().map(|kept| kept.until),
        }
    }
}
