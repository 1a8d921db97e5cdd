use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use locking_core::{FencingToken, LeasedKey, LockKey};
use tokio::time::Instant;

use crate::claim::{Claim, Now};
use crate::holder::Holder;
use crate::queue::{Queue, Waiter};
use crate::serve::{Blocked, Turn};

/// A part of the store's table, under one mutex.
///
/// Padded to its own cache lines, so that neighbours don't slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Shard {
    slots: HashTable<Slot>,
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
    /// The waiter for several keys that nobody who came after it may take this one from.
    pub(crate) kept_for: Option<Arc<Waiter>>,
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
        slot.holder = None;
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

    pub(crate) fn slots_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut()
    }

    /// Forgets every key that nobody holds or waits for.
    pub(crate) fn forget_unused(&mut self) {
        self.slots.retain(|slot| !slot.is_unused());
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
        self.kept_for.as_ref().is_some_and(|kept| match turn {
            Turn::Ticket(ticket) => kept.ticket < ticket,
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
        extended: &mut Vec<(LockKey, Instant)>,
    ) -> LeasedKey {
        let leased = match &mut self.holder {
            Some(holder) => {
                let before = holder.expires;
                holder.prolong(expires);
                if let Some(before) = before.filter(|_| holder.expires != before) {
                    extended.push((self.key.clone(), before));
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

    /// Sees to it that somebody looks when the holder's time is over.
    pub(crate) fn watch_expiry(&self) {
        if let (Some(first), Some(holder)) = (self.queue.first(), &self.holder)
            && let Some(expires) = holder.expires
        {
            first.look_by(expires);
        }
    }
}
