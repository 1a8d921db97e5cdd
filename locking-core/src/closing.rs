use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Whether a module is being closed, and the bell that rings when a guard ends meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    begun: AtomicBool,
    /// Those who wait for keys, in groups: they come and go all the time, and one list of them would
    /// have them queue for its mutex.
    waiters: [Notify; GROUPS],
    guard_ended: Notify,
}

const GROUPS: usize = 16;

impl Closing {
    /// Stops granting and wakes every waiter.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
        self.waiters.iter().for_each(Notify::notify_waiters);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
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
        // `None`: the inner future learns of the close by itself.
        closing: Option<&'a Closing>,
        #[pin]
        begun: Option<Notified<'a>>,
    }
}

impl<'a, F: Future + Unpin> UnlessClosed<'a, F> {
    pub(crate) fn new(inner: F, closing: Option<&'a Closing>) -> Self {
        Self { inner, closing, begun: None }
    }
}

impl<F: Future + Unpin> Future for UnlessClosed<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(closing) = *this.closing else {
            return Pin::new(this.inner).poll(context).map(Some);
        };
        if this.begun.is_none() && closing.has_begun() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(output) = Pin::new(&mut *this.inner).poll(context) {
            return Poll::Ready(Some(output));
        }
        if this.begun.is_none() {
            // Created before the flag is read once more: it receives what is rung from here on.
            let group = std::ptr::from_mut(this.inner).addr() / 64 % GROUPS;
            this.begun.set(Some(closing.waiters[group].notified()));
            if closing.has_begun() {
                return Poll::Ready(None);
            }
        }
        match this.begun.as_mut().as_pin_mut().map(|begun| begun.poll(context)) {
            Some(Poll::Pending) | None => Poll::Pending,
            Some(Poll::Ready(())) => Poll::Ready(None),
        }
    }
}
