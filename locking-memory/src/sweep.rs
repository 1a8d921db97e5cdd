use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use crate::store::Store;

/// How often holds whose time is over are looked for, while there are holds that will end.
const INTERVAL: Duration = Duration::from_secs(1);

/// After how many seconds without a look the task is taken for one that nobody drives.
const OVERDUE: u64 = 5;

/// Forgets holds that ended by themselves and that nobody asks for again.
///
/// Waiters wake at the expiry by themselves; this is for the table's size. Its task runs while
/// there are holds with an expiry, and ends with the store at the latest. Where its runtime isn't
/// driven any more, another one takes its place in the runtime of the next hold with an expiry.
#[derive(Debug)]
pub(crate) struct Sweeper {
    /// The number of the task that runs; 0: none.
    running: AtomicU64,
    /// When it looked last, in seconds since `epoch`.
    looked_at: AtomicU64,
    epoch: Instant,
    started: Mutex<Started>,
}

/// The last task that was started.
#[derive(Debug, Default)]
struct Started {
    number: u64,
    task: Option<AbortHandle>,
}

impl Sweeper {
    pub(crate) fn new() -> Self {
        Self {
            running: AtomicU64::new(0),
            looked_at: AtomicU64::new(0),
            epoch: Instant::now(),
            started: Mutex::default(),
        }
    }

    /// Starts the task if it doesn't run. Without a runtime that is left to a later call.
    ///
    /// It is called after the hold that will end is in the table: a task that ends just then would
    /// not see it otherwise.
    pub(crate) fn start(&self, store: &Arc<Store>, now: Instant) {
        if !self.is_needed(self.running.load(Ordering::SeqCst), now) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let mut started = self.started.lock();
        let number = started.number + 1;
        let replace = |running| self.is_needed(running, now).then_some(number);
        if self.running.fetch_update(Ordering::SeqCst, Ordering::SeqCst, replace).is_err() {
            return;
        }
        started.number = number;
        self.looks(now);
        let running = Running { store: Arc::downgrade(store), number };
        let task = runtime.spawn(running.sweep()).abort_handle();
        if let Some(overdue) = started.task.replace(task) {
            overdue.abort();
        }
    }

    fn is_needed(&self, running: u64, now: Instant) -> bool {
        running == 0 || self.seconds(now) > self.looked_at.load(Ordering::Relaxed) + OVERDUE
    }

    /// Notes that it looks.
    fn looks(&self, now: Instant) {
        self.looked_at.store(self.seconds(now), Ordering::Relaxed);
    }

    fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_secs()
    }

    /// Changes which task runs; not if that is another one than `from` by now.
    fn turn(&self, from: u64, to: u64) -> bool {
        self.running.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        if let Some(task) = self.started.lock().task.take() {
            task.abort();
        }
    }
}

struct Running {
    store: Weak<Store>,
    number: u64,
}

impl Running {
    async fn sweep(self) {
        loop {
            sleep(INTERVAL).await;
            let Some(store) = self.store.upgrade() else { return };
            let sweeper = &store.sweeper;
            sweeper.looks(Instant::now());
            if store.sweep() {
                continue;
            }
            // From here on a new hold starts a task of its own; one that came just before is seen
            // by this second look.
            if !sweeper.turn(self.number, 0) || !store.sweep() || !sweeper.turn(0, self.number) {
                return;
            }
        }
    }
}

/// The runtime was shut down under the task, or it has ended.
impl Drop for Running {
    fn drop(&mut self) {
        if let Some(store) = self.store.upgrade() {
            store.sweeper.turn(self.number, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use locking_core::{AcquireRequest, Expiry, KeySet, LockKey, ProviderId};
    use tokio::runtime::Builder;

    use super::*;
    use crate::claim::Claim;
    use crate::client::Client;

    #[test]
    fn a_hold_that_is_given_an_end_while_the_task_ends_is_seen() {
        let store = Arc::new(Store::new());
        let keys = KeySet::new([LockKey::new("k").expect("a key")]).expect("one key");
        let provider = ProviderId::new("p").expect("an id");
        let claim = Claim::new(AcquireRequest::new(keys));
        let granted = store.try_take(&claim, &Client::new()).expect("free");
        let lease = granted.to_grant(&claim, &provider).lease;
        store.sweeper.turn(0, u64::MAX);
        let locked = store.lock(claim.keys());
        let extending = std::thread::spawn({
            let store = Arc::clone(&store);
            move || {
                let runtime = Builder::new_current_thread().enable_all().build();
                let _entered = runtime.as_ref().expect("a runtime").enter();
                let expiry = Expiry::new(Duration::from_secs(60)).expect("an expiry");
                store.extend(&lease, expiry).expect("held");
                store.sweeper.running.load(Ordering::SeqCst)
            }
        });
        // Until it waits for the table. Too short a while makes the test see less, not fail.
        std::thread::sleep(Duration::from_millis(100));
        assert!(store.sweeper.turn(u64::MAX, 0), "the task that ran has ended");
        drop(locked);
        assert_ne!(extending.join().expect("no panic"), 0, "a task was started");
    }
}
