use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use locking_core::LockKey;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::queue::{Granted, Outcome, Waiter};
use crate::store::Store;

pin_project! {
    /// A waiter as its own task sees it: ready when the keys are granted, the deadline is over, or
    /// the client is closed. Dropped, it leaves the queue, or gives back what it was granted and
    /// never learned of.
    #[derive(Debug)]
    pub(crate) struct Waiting<'a> {
        place: InQueue<'a>,
        #[pin]
        timer: Option<Sleep>,
    }
}

/// Why a wait ended without a grant.
#[derive(Debug)]
pub(crate) enum WaitEnd {
    /// The first key in byte order that it couldn't have.
    TimedOut(LockKey),
    Closed,
}

impl<'a> Waiting<'a> {
    pub(crate) fn new(store: &'a Arc<Store>, waiter: Arc<Waiter>) -> Self {
        Self { place: InQueue { store, waiter, is_over: false }, timer: None }
    }
}

impl Future for Waiting<'_> {
    type Output = Result<Granted, WaitEnd>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let wakes_at = match this.place.waiter.poll(context) {
                Ok(outcome) => return Poll::Ready(this.place.end(outcome)),
                Err(wakes_at) => wakes_at,
            };
            let Some(wakes_at) = wakes_at else { return Poll::Pending };
            match this.timer.as_mut().as_pin_mut() {
                Some(timer) if timer.deadline() == wakes_at => {}
                Some(timer) => timer.reset(wakes_at),
                None => this.timer.set(Some(sleep_until(wakes_at))),
            }
            if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                ready!(timer.poll(context));
            }
            // Also at the deadline: what has just ended by itself may be this waiter's.
            this.place.store.look(&this.place.waiter);
            if this.place.deadline_is_over() {
                return Poll::Ready(this.place.give_up());
            }
        }
    }
}

/// A place in a queue, which is left when this is dropped.
#[derive(Debug)]
struct InQueue<'a> {
    store: &'a Arc<Store>,
    waiter: Arc<Waiter>,
    is_over: bool,
}

impl InQueue<'_> {
    fn deadline_is_over(&self) -> bool {
        self.waiter.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    fn give_up(&mut self) -> Result<Granted, WaitEnd> {
        match self.store.withdraw(&self.waiter) {
            Ok(outcome) => self.end(outcome),
            Err(at) => {
                self.is_over = true;
                Err(WaitEnd::TimedOut(self.store.blocking_key(&self.waiter.claim, at)))
            }
        }
    }

    fn end(&mut self, outcome: Outcome) -> Result<Granted, WaitEnd> {
        self.is_over = true;
        match outcome {
            Outcome::Granted(mut granted) => {
                self.store.tell(&self.waiter.claim, &mut granted);
                self.store.watch(&granted);
                Ok(granted)
            }
            Outcome::Closed => Err(WaitEnd::Closed),
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
