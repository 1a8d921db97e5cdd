use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::latch::Latch;

/// Whether a module is being closed, and the bell that rings when a guard ends meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    begun: Latch,
    guard_ended: Notify,
}

impl Closing {
    /// Stops granting and wakes every waiter.
    pub(crate) fn begin(&self) {
        self.begun.set(1);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.get() != 0
    }

    /// Tells a close that waits for guards.
    pub(crate) fn guard_ended(&self) {
        if self.has_begun() {
            self.guard_ended.notify_waiters();
        }
    }

    /// Waits until `done` answers true, asking again after each guard that ends.
    pub(crate) async fn until(&self, done: impl Fn() -> bool) {
        loop {
            let ended = self.guard_ended.notified();
            if done() {
                return;
            }
            ended.await;
        }
    }
}

pin_project! {
    /// A future that gives up, with `None`, when its module is closed.
    ///
    /// It registers with the module only once the inner future has to wait, so that what is ready
    /// at once costs nothing.
    pub(crate) struct UnlessClosed<'a, F> {
        inner: F,
        closing: &'a Closing,
        #[pin]
        begun: Option<Notified<'a>>,
    }
}

impl<'a, F: Future + Unpin> UnlessClosed<'a, F> {
    pub(crate) fn new(inner: F, closing: &'a Closing) -> Self {
        Self { inner, closing, begun: None }
    }
}

impl<F: Future + Unpin> Future for UnlessClosed<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(output) = Pin::new(&mut *this.inner).poll(context) {
            return Poll::Ready(Some(output));
        }
        if this.begun.is_none() {
            this.begun.set(Some(this.closing.begun.notified()));
            if this.closing.has_begun() {
                return Poll::Ready(None);
            }
        }
        match this.begun.as_mut().as_pin_mut().map(|begun| begun.poll(context)) {
            Some(Poll::Pending) | None => Poll::Pending,
            Some(Poll::Ready(())) => Poll::Ready(None),
        }
    }
}
