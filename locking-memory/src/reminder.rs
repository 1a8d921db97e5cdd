use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Handle, Id};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::store::Store;

/// How often a reminder looks at those who wait.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long before it has something to do a waiter is woken: more than a reminder is late on a
/// runtime that would serve the waiter's own timer in time.
const LEAD: Duration = Duration::from_millis(500);

/// Wakes waiters before their time comes, so that they set a timer only then.
///
/// Most waits end long before their deadline, and to set a timer and take it back is a good tenth of
/// what handing on a key costs. Each runtime has a reminder of its own, a task: it lives as long as the
/// timers of its waiters would. It runs while anybody waits, and ends with the store at the latest.
#[derive(Debug, Default)]
pub(crate) struct Reminders(Mutex<Vec<Reminder>>);

/// The reminder of a runtime.
#[derive(Debug)]
struct Reminder {
    runtime: Id,
    /// Whose time comes then or later is reminded in time.
    reminds_from: Instant,
    /// `None` until it has been started.
    task: Option<AbortHandle>,
}

impl Reminders {
    /// Whether a waiter that is in its queue, and whose time comes at `at`, is woken before that in the
    /// runtime that polls it now.
    pub(crate) fn are_in_time(&self, at: Instant, store: &Arc<Store>) -> bool {
        let Ok(runtime) = Handle::try_current() else { return false };
        let id = runtime.id();
        let mut reminders = self.0.lock();
        if let Some(reminder) = reminders.iter().find(|reminder| reminder.runtime == id) {
            return reminder.reminds_from <= at;
        }
        let looks_at = Instant::now() + INTERVAL;
        let reminds_from = looks_at + LEAD;
        if at < reminds_from {
            return false;
        }
        // It waits by the runtime's timer: without one this panics here, where it is seen.
        drop(sleep(Duration::ZERO));
        reminders.push(Reminder { runtime: id, reminds_from, task: None });
        drop(reminders);
        let running = Running { store: Arc::downgrade(store), runtime: id };
        let task = runtime.spawn(running.run(looks_at)).abort_handle();
        // A runtime that is being shut down has dropped the task, and what was noted is forgotten.
        self.change(id, |reminder| reminder.task = Some(task))
    }

    /// Changes what is noted of the reminder of a runtime, if there is one.
    fn change(&self, runtime: Id, change: impl FnOnce(&mut Reminder)) -> bool {
        let mut reminders = self.0.lock();
        let found = reminders.iter_mut().find(|reminder| reminder.runtime == runtime);
        found.map(change).is_some()
    }

    fn forget(&self, runtime: Id) {
        self.0.lock().retain(|reminder| reminder.runtime != runtime);
    }
}

impl Drop for Reminders {
    fn drop(&mut self) {
        for task in self.0.get_mut().drain(..).filter_map(|reminder| reminder.task) {
            task.abort();
        }
    }
}

struct Running {
    store: Weak<Store>,
    runtime: Id,
}

impl Running {
    async fn run(self, mut looks_at: Instant) {
        // Who comes later finds it at its shard.
        self.remind_until(looks_at);
        loop {
            sleep_until(looks_at).await;
            looks_at = Instant::now() + INTERVAL;
            if !self.remind_until(looks_at) {
                return;
            }
        }
    }

    /// Wakes those who have something to do before the next look has seen to them. Answers whether any others are left.
    fn remind_until(&self, looks_at: Instant) -> bool {
        let Some(store) = self.store.upgrade() else { return false };
        let until = looks_at + LEAD;
        // Noted first: who counts on the time before it is in its queue, and is seen.
        store.reminders.change(self.runtime, |reminder| reminder.reminds_from = until);
        store.remind(self.runtime, Some(until))
    }
}

/// Nobody waits, or the runtime was shut down under the task. Who has come to count on it just now is
/// woken, and finds another one.
impl Drop for Running {
    fn drop(&mut self) {
        if let Some(store) = self.store.upgrade() {
            store.reminders.forget(self.runtime);
            store.remind(self.runtime, None);
        }
    }
}
