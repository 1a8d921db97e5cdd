use std::sync::Arc;

use locking_core::LockKey;
use tokio::time::{Instant, timeout_at};

use crate::queue::{Granted, Outcome, Waiter};
use crate::store::Store;

/// A waiter as its own task sees it. Dropped, it leaves the queue, or gives back what it was
/// granted and never learned of.
#[derive(Debug)]
pub(crate) struct Waiting {
    store: Arc<Store>,
    waiter: Arc<Waiter>,
    is_over: bool,
}

/// Why a wait ended without a grant.
#[derive(Debug)]
pub(crate) enum WaitEnd {
    /// The key in whose queue it stood.
    TimedOut(LockKey),
    Closed,
}

impl Waiting {
    pub(crate) fn new(store: Arc<Store>, waiter: Arc<Waiter>) -> Self {
        Self { store, waiter, is_over: false }
    }

    pub(crate) fn waiter(&self) -> Arc<Waiter> {
        Arc::clone(&self.waiter)
    }

    /// Waits until the keys are granted, the deadline is over, or the client is closed.
    pub(crate) async fn outcome(mut self) -> Result<Granted, WaitEnd> {
        loop {
            if let Some(outcome) = self.waiter.outcome() {
                return self.end(outcome);
            }
            match self.waiter.wakes_at() {
                None => self.waiter.changed().await,
                Some(wakes_at) => {
                    let changed = timeout_at(wakes_at, self.waiter.changed()).await;
                    if changed.is_err() && self.deadline_is_over() {
                        return match self.store.withdraw(&self.waiter) {
                            Ok(outcome) => self.end(outcome),
                            Err(at) => self.give_up(at),
                        };
                    }
                    if changed.is_err() {
                        self.store.look(&self.waiter);
                    }
                }
            }
        }
    }

    fn deadline_is_over(&self) -> bool {
        self.waiter.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    fn end(&mut self, outcome: Outcome) -> Result<Granted, WaitEnd> {
        self.is_over = true;
        match outcome {
            Outcome::Granted(granted) => Ok(granted),
            Outcome::Closed => Err(WaitEnd::Closed),
        }
    }

    fn give_up(&mut self, at: LockKey) -> Result<Granted, WaitEnd> {
        self.is_over = true;
        Err(WaitEnd::TimedOut(at))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if let Ok(Outcome::Granted(granted)) = self.store.withdraw(&self.waiter) {
            self.store.undo(&self.waiter.claim, granted);
        }
    }
}
