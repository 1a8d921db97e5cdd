use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use locking_core::{Error, Grant, ProviderId, Result};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::queue::{Outcome, Waiter};
use crate::store::Store;

/// A waiter as its own task sees it: ready when the keys are granted, the deadline is over, or
/// the client is closed. Dropped, it leaves the queue, or gives back what it was granted and
/// never learned of.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    place: InQueue<'a>,
    /// Set only where the time to wake has come near: most waits end before that.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<'a> Waiting<'a> {
    pub(crate) fn new(
        store: &'a Arc<Store>,
        provider: &'a ProviderId,
        waiter: Arc<Waiter>,
    ) -> Self {
        Self { place: InQueue { store, provider, waiter, is_over: false }, timer: None }
    }
}

impl Future for Waiting<'_> {
    type Output = Result<Grant>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { place, timer } = &mut *self;
        loop {
            let wakes_at = match place.waiter.poll(context, timer.is_some()) {
                Ok(outcome) => return Poll::Ready(place.end(outcome)),
                Err(wakes_at) => wakes_at,
            };
            let Some(wakes_at) = wakes_at else { return Poll::Pending };
            if timer.is_none() && place.store.reminders.are_in_time(wakes_at, place.store) {
                return Poll::Pending;
            }
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(wakes_at)));
            if timer.deadline() != wakes_at {
                timer.as_mut().reset(wakes_at);
            }
            ready!(timer.as_mut().poll(context));
            // Also at the deadline: what has just ended by itself may be this waiter's.
            place.store.look(&place.waiter);
            if place.deadline_is_over() {
                return Poll::Ready(place.give_up());
            }
        }
    }
}

/// A place in a queue, which is left when this is dropped.
#[derive(Debug)]
struct InQueue<'a> {
    store: &'a Arc<Store>,
    provider: &'a ProviderId,
    waiter: Arc<Waiter>,
    is_over: bool,
}

impl InQueue<'_> {
    fn deadline_is_over(&self) -> bool {
        self.waiter.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    fn give_up(&mut self) -> Result<Grant> {
        match self.store.withdraw(&self.waiter) {
            Ok(outcome) => self.end(outcome),
            Err(at) => {
                self.is_over = true;
                let blocking = self.store.blocking_key(&self.waiter.claim, at);
                Err(Error::timed_out(self.provider, blocking))
            }
        }
    }

    fn end(&mut self, outcome: Outcome) -> Result<Grant> {
        self.is_over = true;
        match outcome {
            Outcome::Granted(mut granted) => {
                let claim = &self.waiter.claim;
                self.store.tell(claim, &mut granted);
                self.store.watch(&granted);
                Ok(granted.into_grant(claim, self.provider))
            }
            Outcome::Closed => Err(Error::closed(self.provider).about(self.waiter.claim.keys())),
        }
    }
}

impl Drop for InQueue<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if let Ok(Outcome::Granted(granted)) = self.store.withdraw(&self.waiter) {
            self.store.undo(&self.waiter.claim, &granted);
        }
    }
}
