use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use locking_core::{Error, Grant, ProviderId, Result};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::seat::Seat;
use crate::store::Store;
use crate::waiter::{Outcome, Waiter};

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
        seat: Seat,
        deadline: Option<Instant>,
    ) -> Self {
        Self { place: InQueue { store, provider, seat, deadline, is_over: false }, timer: None }
    }
}

impl Future for Waiting<'_> {
    type Output = Result<Grant>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { place, timer } = &mut *self;
        // Somebody else may lie there by now.
        assert!(!place.is_over, "polled after it was ready");
        loop {
            let waits = match place.store.poll(&place.seat, context, timer.is_some()) {
                Ok(waiter) => return Poll::Ready(place.end(waiter)),
                Err(waits) => waits,
            };
            let Some(wakes_at) = waits.until else { return Poll::Pending };
            if timer.is_none() && place.store.reminders.are_in_time(wakes_at, place.store) {
                return Poll::Pending;
            }
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(wakes_at)));
            if timer.deadline() != wakes_at {
                timer.as_mut().reset(wakes_at);
            }
            ready!(timer.as_mut().poll(context));
            // Also at the deadline: what has just ended by itself may be this waiter's.
            place.store.look(&place.seat);
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
    seat: Seat,
    deadline: Option<Instant>,
    is_over: bool,
}

impl InQueue<'_> {
    fn deadline_is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    fn give_up(&mut self) -> Result<Grant> {
        // First: what wakes others may panic, and it is found there once.
        self.is_over = true;
        let waiter = self.store.withdraw(&self.seat);
        if waiter.is_queued() {
            let blocking = self.store.blocking_key(&waiter.claim, waiter.key());
            return Err(Error::timed_out(self.provider, blocking));
        }
        self.end(waiter)
    }

    fn end(&mut self, mut waiter: Box<Waiter>) -> Result<Grant> {
        self.is_over = true;
        self.store.answer(&mut waiter, self.provider)
    }
}

impl Drop for InQueue<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut waiter = self.store.withdraw(&self.seat);
        if let (claim, Some(Outcome::Granted(granted))) = waiter.outcome() {
            self.store.undo(claim, granted);
        }
    }
}
