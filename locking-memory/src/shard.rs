use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use locking_core::{FencingToken, LeasedKey, LockKey, LossReason};
use tokio::time::Instant;

use crate::claim::{Claim, Now};
use crate::holder::Holder;
use crate::queue::{Extended, Queue, Waiter};
use crate::serve::{Blocked, Turn};

/// A part of the store's table, under one mutex.
///
/// Padded to its own cache lines, so that neighbours don't slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Shard {
    slots: HashTable<Slot>,
}

/// For whom a free key is kept, and until when.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) waiter: Arc<Waiter>,
    pub(crate) until: Instant,
}

/// What came of freeing a key.
pub(crate) enum Freed {
    /// It isn't held, or not by whom it should be.
    No,
    /// Nobody waits for it: it is forgotten.
    Yes,
    /// Somebody waits for it: it is to be settled.
    Awaited,
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
    pub(crate) fn slot(&mut self, hash: u64, key: &LockKey) -> Option<&mut Slot> {
        self.slots.find_mut(hash, |slot| slot.key == *key)
    }

    /// The slot of a key, made if it isn't there. Who asks for it fills it.
    pub(crate) fn slot_or_new(&mut self, hash: u64, key: &LockKey) -> &mut Slot {
        match self.slots.entry(hash, |slot| slot.key == *key, |slot| slot.hash) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(place) => place.insert(Slot::new(hash, key.clone())).into_mut(),
        }
    }

    /// Frees a key whose holder passes the test.
    pub(crate) fn free(
        &mut self,
        hash: u64,
        key: &LockKey,
        now: &Now,
        passes: impl FnOnce(&Holder) -> bool,
    ) -> Freed {
        let found = self.slots.find_entry(hash, |slot| slot.key == *key);
        let Ok(mut entry) = found else { return Freed::No };
        let slot = entry.get_mut();
        if !slot.current(now).is_some_and(|holder| passes(holder)) {
            return Freed::No;
        }
        // Given back by its guard, or by somebody who had its lease: then it must know.
        if let Some(loss) = slot.holder.take().and_then(|holder| holder.guard) {
            loss.signal(LossReason::Revoked);
        }
        if !slot.queue.is_empty() {
            return Freed::Awaited;
        }
        entry.remove();
        self.give_memory_back();
        Freed::Yes
    }

    /// Forgets a key that nobody holds or waits for.
    pub(crate) fn forget_if_unused(&mut self, hash: u64, key: &LockKey) {
        if let Ok(slot) = self.slots.find_entry(hash, |slot| slot.key == *key)
            && slot.get().is_unused()
        {
            slot.remove();
        }
        self.give_memory_back();
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// Visits every slot, and forgets those that nobody holds or waits for after that.
    pub(crate) fn visit(&mut self, mut visit: impl FnMut(&mut Slot)) {
        self.slots.retain(|slot| {
            visit(slot);
            !slot.is_unused()
        });
        self.give_memory_back();
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// A table that was large once doesn't stay so.
    fn give_memory_back(&mut self) {
        if self.slots.capacity() > 64 && self.slots.len() < self.slots.capacity() / 8 {
            self.slots.shrink_to(self.slots.len() * 2, |slot| slot.hash);
        }
    }
}

impl Slot {
    fn new(hash: u64, key: LockKey) -> Self {
        Self { hash, key, holder: None, queue: Queue::default(), kept_for: None }
    }

    /// The holder, unless its time is over; then the key is free from here on.
    pub(crate) fn current(&mut self, now: &Now) -> Option<&mut Holder> {
        if self.holder.as_ref().is_some_and(|holder| holder.has_expired(now)) {
            self.holder = None;
        }
        self.holder.as_mut()
    }

    /// Whether the key is kept for somebody who came before.
    pub(crate) fn is_kept_from(&self, turn: Turn) -> bool {
        let kept = self.kept_for.as_ref().filter(|kept| kept.until > Instant::now());
        kept.is_some_and(|kept| match turn {
            Turn::Ticket(ticket) => kept.waiter.ticket < ticket,
            Turn::Last | Turn::Next => true,
        })
    }

    /// Whether a claim may have this key. Its other keys are looked at by the caller.
    pub(crate) fn check(&mut self, claim: &Claim, turn: Turn, now: &Now) -> Result<(), Blocked> {
        let (has_queue, is_kept) = (!self.queue.is_empty(), self.is_kept_from(turn));
        let (token, is_awaited) = match self.current(now) {
            Some(holder) if claim.reenters(holder) => return Ok(()),
            Some(holder) => (Some(holder.token), false),
            None if is_kept => (None, false),
            None if has_queue && matches!(turn, Turn::Last) => (None, true),
            None => return Ok(()),
        };
        Err(Blocked { key: self.key.clone(), is_awaited, token })
    }

    /// Gives the key to a claim that may have it. Where that extends a hold, `extended` learns what
    /// its expiry was before.
    pub(crate) fn grant(
        &mut self,
        claim: &Claim,
        token: u64,
        expires: Option<Instant>,
        extended: &mut Vec<Extended>,
    ) -> LeasedKey {
        let leased = match &mut self.holder {
            Some(holder) => {
                let before = holder.expires;
                holder.prolong(expires);
                holder.is_shared_by_now = true;
                if let (Some(before), Some(after)) = (before, holder.expires)
                    && before != after
                {
                    extended.push(Extended { key: self.key.clone(), before, after });
                }
                LeasedKey::reentered(self.key.clone(), FencingToken::new(holder.token))
            }
            free => {
                *free = Some(claim.holder(token, expires));
                self.kept_for = None;
                LeasedKey::taken(self.key.clone(), FencingToken::new(token))
            }
        };
        self.watch_expiry();
        leased
    }

    fn is_unused(&self) -> bool {
        self.holder.is_none() && self.queue.is_empty() && self.kept_for.is_none()
    }

    /// Sees to it that somebody looks when the holder's time is over, or the key isn't kept any
    /// more.
    pub(crate) fn watch_expiry(&self) {
        if let (Some(first), Some(ends)) = (self.queue.first(), self.ends()) {
            first.look_by(ends);
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
