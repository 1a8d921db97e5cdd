use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Whether a module is being closed, and what it waits for meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    begun: AtomicBool,
    /// Calls that ask for keys, in groups: they come and go all the time, and one list of them would
    /// have them queue for its mutex.
    groups: [Group; GROUPS],
    /// Rings when a call or a guard ends.
    ended: Notify,
}

/// In a cache line of its own, so that calls of different groups don't slow each other down.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Group {
    waiters: Notify,
    /// How many of the calls that a close waits for are neither answered nor dropped.
    unanswered: AtomicUsize,
}

const GROUPS: usize = 16;

impl Closing {
    /// Stops granting and wakes every waiter.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
        self.groups.iter().for_each(|group| group.waiters.notify_waiters());
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }

    /// Counts a call until the answer is dropped: what was granted to it may not have reached it
    /// yet. Asked before [`has_begun`](Self::has_begun), a close sees the call, or the call the close.
    pub(crate) fn unanswered<T>(&self, call: &T) -> Unanswered<'_> {
        let group = self.group(call);
        group.unanswered.fetch_add(1, Ordering::SeqCst);
        Unanswered { closing: self, group }
    }

    /// Whether no call is under way. Asked before the guards are looked at: an answered call has
    /// left its guard with the keeper.
    pub(crate) fn all_are_answered(&self) -> bool {
        self.groups.iter().all(|group| group.unanswered.load(Ordering::SeqCst) == 0)
    }

    /// Tells a close that waits for calls and guards.
    pub(crate) fn one_ended(&self) {
        if self.has_begun() {
            self.ended.notify_waiters();
        }
    }

    /// Waits until `done` answers true, asking again after each call or guard that ends.
    pub(crate) async fn until(&self, done: impl Fn() -> bool) {
        loop {
            let ended = self.ended.notified();
            if done() {
                return;
            }
            ended.await;
        }
    }

    /// That of a call, by where it lies. Stacks of threads lie whole pages apart.
    fn group<T>(&self, call: &T) -> &Group {
        let place = std::ptr::from_ref(call).addr();
        &self.groups[((place / 64) ^ (place / 4096)) % GROUPS]
    }
}

/// A call that has begun: a close waits for it.
pub(crate) struct Unanswered<'a> {
    closing: &'a Closing,
    group: &'a Group,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.group.unanswered.fetch_sub(1, Ordering::SeqCst);
        self.closing.one_ended();
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
        let closing = *this.closing;
        if this.begun.is_none() && closing.has_begun() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(output) = Pin::new(&mut *this.inner).poll(context) {
            return Poll::Ready(Some(output));
        }
        if this.begun.is_none() {
            // Created before the flag is read once more: it receives what is rung from here on.
            this.begun.set(Some(closing.group(this.inner).waiters.notified()));
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
