//! How the model waits, and what becomes of who waits no longer.

use std::sync::Arc;
use std::time::Duration;

use locking_core::{Backoff, Error, Lease, LeasedKey, Result};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::Model;
use crate::fault::Fault;
use crate::table::Waiter;

impl Model {
    pub(super) async fn wait(&self, queued: Queued<'_>) -> Result<Vec<LeasedKey>> {
        let waiter = Arc::clone(&queued.waiter);
        let (began, deadline) = (Instant::now(), waiter.request.wait.instant());
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(500));
        loop {
            let pause = self.pause(began, &mut backoff);
            if let Some(pause) = pause {
                let next = Instant::now() + pause;
                sleep_until(deadline.map_or(next, |deadline| deadline.min(next))).await;
            }
            let outcome = self.table().outcome(&waiter);
            if let Some(outcome) = outcome {
                queued.forget();
                return outcome.map_err(|()| Error::closed(&self.id));
            }
            let expiry = self.table().next_look(&waiter);
            let polls = pause.map(|_| Instant::now());
            let wakes_at = [deadline, expiry, polls].into_iter().flatten().min();
            let told = waiter.changed.notified();
            let is_told = match wakes_at {
                None => {
                    told.await;
                    true
                }
                Some(at) => timeout_at(at, told).await.is_ok(),
            };
            if is_told {
                continue;
            }
            let now = Instant::now();
            if self.has(Fault::GrantsAtTheOldExpiry) && expiry.is_some_and(|at| at <= now) {
                self.table().free(&waiter.request.keys);
            }
            self.table().settle();
            if deadline.is_some_and(|deadline| deadline <= now) {
                if self.has(Fault::KeepsWhatATimedOutCallWasGranted) {
                    // The way to a server, on which the grant can come towards it.
                    sleep(Duration::from_millis(1)).await;
                }
                return self.give_up(queued);
            }
        }
    }

    /// Until a waiter asks again, where it isn't told.
    fn pause(&self, began: Instant, backoff: &mut Backoff) -> Option<Duration> {
        match self.fault {
            Fault::Polls => Some(backoff.next_delay()),
            Fault::AsksSeldomAfterAWhile if began.elapsed() > Duration::from_secs(2) => {
                Some(Duration::from_secs(5))
            }
            Fault::AsksSeldomAfterAWhile => Some(Duration::from_millis(5)),
            _ => None,
        }
    }

    fn give_up(&self, queued: Queued<'_>) -> Result<Vec<LeasedKey>> {
        let waiter = Arc::clone(&queued.waiter);
        queued.forget();
        let mut table = self.table();
        if self.has(Fault::GrantsAtTheDeadline) {
            return Ok(table.take(&waiter.request, self.client));
        }
        match table.withdraw(&waiter) {
            Some(Ok(keys)) if !self.has(Fault::KeepsWhatATimedOutCallWasGranted) => Ok(keys),
            Some(Err(())) => Err(Error::closed(&self.id)),
            _ => Err(Error::timed_out(&self.id, table.blocking(&waiter.request, self.client))),
        }
    }
}

/// A waiter whose task may be dropped.
pub(super) struct Queued<'a> {
    pub(super) model: &'a Model,
    pub(super) waiter: Arc<Waiter>,
}

impl Queued<'_> {
    fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let model = self.model;
        if model.has(Fault::LeavesGhostsInTheQueue) {
            return;
        }
        let mut table = model.table();
        if model.has(Fault::CancelledWaitFreesReenteredKeys) {
            table.release(&self.waiter.request.keys, self.waiter.request.owner.as_ref());
        }
        if let Some(Ok(keys)) = table.withdraw(&self.waiter)
            && !model.has(Fault::ForgetsGrantsThatNobodyHeardOf)
        {
            let owner = self.waiter.request.owner.clone();
            let lease = Lease::new(model.id.clone(), owner, keys);
            // Gone by itself: then there is nothing to give back.
            let _ = table.release_lease(&lease, model.client);
        }
    }
}
