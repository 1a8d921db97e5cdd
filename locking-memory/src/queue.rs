use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use slab::Slab;

use crate::shard::OwnerMark;
use crate::waiter::Waiter;

/// Those who wait for a key, in the order in which they came.
///
/// A waiter for several keys stands in the queue of one that it can't have; when that one becomes
/// free and another is held, it moves to that one's queue and keeps its place by its ticket.
/// Most keys have no queue: it costs them one word.
#[derive(Debug, Default)]
pub(crate) struct Queue(Option<Box<Line>>);

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queued {
    /// Who came first has the smaller one.
    pub(crate) ticket: u64,
    /// Its number among the waiters of the shard.
    pub(crate) at: usize,
}

#[derive(Debug, Default)]
struct Line {
    waiters: VecDeque<Queued>,
    /// How many of them want leases for an owner of this mark: who looks for one needn't read all.
    owners: HashMap<OwnerMark, usize, RandomState>,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |line| line.waiters.len())
    }

    pub(crate) fn first(&self) -> Option<Queued> {
        self.0.as_ref()?.waiters.front().copied()
    }

    /// The first that passes a test which none but leases for owners of this mark do.
    pub(crate) fn first_of(
        &self,
        mark: OwnerMark,
        passes: impl Fn(Queued) -> bool,
    ) -> Option<Queued> {
        let line = self.0.as_ref().filter(|line| line.owners.contains_key(&mark))?;
        line.waiters.iter().copied().find(|queued| passes(*queued))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Queued> {
        self.0.iter().flat_map(|line| line.waiters.iter().copied())
    }

    /// Takes out those that a test picks.
    pub(crate) fn take_out(
        &mut self,
        waiters: &Slab<Box<Waiter>>,
        picks: impl Fn(&Waiter) -> bool,
    ) -> Vec<Queued> {
        let Some(line) = &mut self.0 else { return Vec::new() };
        let mut taken = Vec::new();
        line.waiters.retain(|queued| {
            let is_picked = picks(&waiters[queued.at]);
            taken.extend(is_picked.then_some(*queued));
            !is_picked
        });
        taken.iter().for_each(|queued| line.forget(waiters[queued.at].mark));
        if line.waiters.is_empty() {
            self.0 = None;
        }
        taken
    }

    /// Puts a waiter where its ticket is in turn.
    pub(crate) fn insert(&mut self, waiter: &Waiter, at: usize) {
        let Line { waiters, owners } = &mut **self.0.get_or_insert_default();
        if let Some(mark) = waiter.mark {
            *owners.entry(mark).or_default() += 1;
        }
        let queued = Queued { ticket: waiter.ticket, at };
        // Most come last.
        if waiters.back().is_none_or(|last| last.ticket < queued.ticket) {
            waiters.push_back(queued);
        } else {
            waiters.insert(place_of(waiters, queued.ticket), queued);
        }
    }

    /// Takes a waiter out, if it is there.
    pub(crate) fn remove(&mut self, waiter: &Waiter) {
        let Some(line) = &mut self.0 else { return };
        let waiters = &mut line.waiters;
        // Most leave from the front.
        if waiters.front().is_some_and(|first| first.ticket == waiter.ticket) {
            waiters.pop_front();
        } else {
            let place = place_of(waiters, waiter.ticket);
            if waiters.get(place).is_none_or(|queued| queued.ticket != waiter.ticket) {
                return;
            }
            waiters.remove(place);
        }
        line.forget(waiter.mark);
        if line.waiters.is_empty() {
            self.0 = None;
        }
    }

    /// Where the waiter with this ticket is, if it is there.
    pub(crate) fn find(&self, ticket: u64) -> Option<Queued> {
        let waiters = &self.0.as_ref()?.waiters;
        waiters.get(place_of(waiters, ticket)).copied().filter(|queued| queued.ticket == ticket)
    }
}

impl Line {
    /// Counts out one that has left.
    fn forget(&mut self, mark: Option<OwnerMark>) {
        let Some(mark) = mark else { return };
        if let Some(count) = self.owners.get_mut(&mark) {
            *count -= 1;
            if *count == 0 {
                self.owners.remove(&mark);
            }
        }
    }
}

/// Where a ticket is in a queue, or would be.
fn place_of(waiters: &VecDeque<Queued>, ticket: u64) -> usize {
    waiters.partition_point(|other| other.ticket < ticket)
}
