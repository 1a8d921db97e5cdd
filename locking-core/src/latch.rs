use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

/// A value that is set once, from zero, and can be waited for.
///
/// Tokio's `Notify` with a flag before it: who asks first sees the flag, who waits is woken.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    value: AtomicU8,
    set: Notify,
}

impl Latch {
    /// Sets the value, if nobody has yet. Answers whether this call did.
    pub(crate) fn set(&self, value: u8) -> bool {
        debug_assert_ne!(value, 0, "zero means not set");
        let first =
            self.value.compare_exchange(0, value, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if first {
            self.set.notify_waiters();
        }
        first
    }

    /// The value; zero while it isn't set.
    pub(crate) fn get(&self) -> u8 {
        self.value.load(Ordering::Acquire)
    }

    /// Waits for the value. Cancellation safe.
    pub(crate) async fn wait(&self) -> u8 {
        // A `Notified` receives every `notify_waiters` from its creation on: made before the flag is
        // read, it misses none.
        let notified = self.set.notified();
        if let value @ 1.. = self.get() {
            return value;
        }
        notified.await;
        self.get()
    }
}
