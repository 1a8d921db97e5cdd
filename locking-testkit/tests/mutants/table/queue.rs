//! Who waits in the model's table, and how they are served.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use locking_core::{AcquireRequest, FencingToken, HoldKind, KeySet, LeasedKey, LockKey};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Outcome, Table, Waiter};
use crate::fault::Fault;

impl Table {
    pub(crate) fn enqueue(&mut self, request: AcquireRequest, client: usize) -> Arc<Waiter> {
        let waiter = self.enqueue_blindly(request, client);
        self.settle();
        waiter
    }

    pub(crate) fn enqueue_blindly(
        &mut self,
        request: AcquireRequest,
        client: usize,
    ) -> Arc<Waiter> {
        if self.has(Fault::DrawsLeasesTokensWhenAsked) {
            self.draw_token();
        }
        let reentered = match self.fault {
            Fault::RemembersWhatItReentered => self.reentered(&request, client),
            _ => Vec::new(),
        };
        let waiter = Arc::new(Waiter {
            request,
            client,
            since: self.next_token,
            passes: AtomicUsize::new(0),
            changed: Notify::new(),
            outcome: Mutex::new(None),
            first_look: Mutex::new(None),
            reentered,
        });
        let is_wide = |other: &Arc<Waiter>| other.request.keys.len() > 1;
        let turned = self.has(Fault::TurnsWideCallsRound) && is_wide(&waiter);
        let first_wide = self.queue.iter().position(is_wide).filter(|_| turned);
        self.queue.insert(first_wide.unwrap_or(self.queue.len()), Arc::clone(&waiter));
        waiter
    }

    /// When a waiter has to look whether a hold is over.
    pub(crate) fn next_look(&self, waiter: &Waiter) -> Option<Instant> {
        if self.has(Fault::NeverWakesAtExpiry) {
            return None;
        }
        if let Some(first) = *waiter.first_look.lock().expect("not poisoned") {
            return first;
        }
        let holds = waiter.request.keys.iter().filter_map(|key| self.hold(key));
        holds.filter_map(|hold| hold.expires).min()
    }

    pub(crate) fn outcome(&self, waiter: &Waiter) -> Option<Outcome> {
        waiter.outcome.lock().expect("not poisoned").take()
    }

    /// Takes a waiter out of the queue. `Some`: its wait was over already.
    pub(crate) fn withdraw(&mut self, waiter: &Arc<Waiter>) -> Option<Outcome> {
        if self.has(Fault::CountsGoneWaiters) {
            self.litter += 1;
        }
        if !self.has(Fault::LeavesGhostsInTheQueue) {
            self.queue.retain(|other| !Arc::ptr_eq(other, waiter));
        }
        self.settle();
        self.outcome(waiter)
    }

    /// Serves those who can be served, in the order in which they came.
    pub(crate) fn settle(&mut self) {
        let asked_lately = self.last_asked.elapsed() < Duration::from_secs(2);
        if self.has(Fault::ServesWaitersWhenNobodyElseAsks) && asked_lately {
            return;
        }
        self.expire();
        let mut waiting = std::mem::take(&mut self.queue);
        if self.has(Fault::ServesTheLastFirst) {
            waiting.reverse();
        }
        if self.has(Fault::ServesOneClientFirst) {
            waiting.sort_by_key(|waiter| waiter.client);
        }
        let before = waiting.len();
        self.kept.clear();
        let any_wide = asked_lately && waiting.iter().any(|other| other.request.keys.len() > 1);
        for waiter in &waiting {
            let wide = waiter.request.keys.len() > 1;
            let later = (self.has(Fault::ServesNarrowCallsFirst) && wide && asked_lately)
                || (self.has(Fault::ServesWideCallsFirst) && !wide && any_wide)
                || (self.has(Fault::ForgetsTheOwnersOtherRequests) && self.would_reenter(waiter))
                || (self.has(Fault::ForgetsTheOwnersRequestsBehindOthers)
                    && self.is_behind(&waiter.request, waiter.client));
            let wanted = self.wanted(waiter);
            if later || self.look(&wanted, waiter.client).is_err() {
                self.queue.push(Arc::clone(waiter));
                self.keep_free_keys(waiter);
            } else {
                let token = match (self.fault, waiter.request.hold.kind()) {
                    (Fault::DrawsLeasesTokensWhenAsked, HoldKind::Lease) => waiter.since,
                    _ => self.draw_token(),
                };
                let mut keys = self.take_with(token, &wanted, waiter.client);
                keys.extend(waiter.reentered.iter().cloned());
                self.note_that_it_waited(&waiter.request.keys);
                self.end(waiter, Ok(keys));
            }
        }
        if self.has(Fault::ServesTheLastFirst) {
            self.queue.reverse();
        }
        if self.queue.len() < before {
            self.tell_waiters();
        }
    }

    fn note_that_it_waited(&mut self, keys: &KeySet) {
        for key in keys {
            let place = self.place(key.as_str());
            if let Some(hold) = self.holds.get_mut(&place) {
                hold.waited = true;
                if self.fault == Fault::MakesLeasesOfGuardsThatWaited {
                    hold.guard = None;
                }
            }
        }
    }

    /// What is asked of the table for a waiter, after its wait.
    fn wanted(&self, waiter: &Waiter) -> AcquireRequest {
        let mut wanted = waiter.request.clone();
        if self.has(Fault::ForgetsTheExpiryOfReenteredKeysInTheQueue) && self.would_reenter(waiter)
        {
            wanted.expiry = None;
        }
        let is_had = |key: &&LockKey| waiter.reentered.iter().any(|had| had.key == **key);
        let keys = waiter.request.keys.iter().filter(|key| !is_had(key)).cloned();
        wanted.keys = KeySet::new(keys).unwrap_or(wanted.keys);
        wanted
    }

    /// The keys of a request that its owner has.
    pub(crate) fn reentered(&self, request: &AcquireRequest, client: usize) -> Vec<LeasedKey> {
        let own = |key: &LockKey| {
            let hold = self.hold(key).filter(|hold| self.reenters(request, client, hold))?;
            Some(LeasedKey::reentered(key.clone(), FencingToken::new(hold.token)))
        };
        request.keys.iter().filter_map(own).collect()
    }

    /// Keeps the free keys of a waiter that was overtaken too often from those who came later.
    fn keep_free_keys(&mut self, waiter: &Waiter) {
        let keys = &waiter.request.keys;
        let overtaken =
            keys.iter().any(|key| self.hold(key).is_some_and(|h| h.token > waiter.since));
        let fair = !self.has(Fault::ServesNarrowCallsFirst);
        if keys.len() > 1 && fair && overtaken && waiter.passes.fetch_add(1, Ordering::Relaxed) > 16
        {
            let free: Vec<LockKey> =
                keys.iter().filter(|key| self.hold(key).is_none()).cloned().collect();
            self.kept.extend(free);
        }
    }

    /// Lets those who wait look anew when the holds before them are over.
    pub(super) fn tell_waiters(&self) {
        if !self.has(Fault::SleepsToTheFirstExpiry) {
            self.queue.iter().for_each(|waiter| waiter.changed.notify_one());
        }
    }

    fn would_reenter(&self, waiter: &Waiter) -> bool {
        let mut holds = waiter.request.keys.iter().filter_map(|key| self.hold(key));
        holds.any(|hold| self.reenters(&waiter.request, waiter.client, hold))
    }

    pub(super) fn end(&self, waiter: &Waiter, outcome: Outcome) {
        *waiter.outcome.lock().expect("not poisoned") = Some(outcome);
        waiter.changed.notify_one();
    }

    /// After keys became free.
    pub(super) fn freed(&mut self) {
        if !self.has(Fault::LosesWakeUps) {
            self.settle();
        }
    }
}
