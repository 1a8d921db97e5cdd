use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::store::Store;

/// How often holds whose time is over are looked for, while there are holds that will end.
const INTERVAL: Duration = Duration::from_secs(1);

/// Forgets holds that ended by themselves and that nobody asks for again.
///
/// Waiters wake at the expiry by themselves; this is for the table's size. Its task runs while
/// there are holds with an expiry, and ends with the store at the latest.
#[derive(Debug, Default)]
pub(crate) struct Sweeper {
    runs: AtomicBool,
    task: Mutex<Option<AbortHandle>>,
}

impl Sweeper {
    /// Starts the task if it doesn't run. Without a runtime that is left to a later call.
    pub(crate) fn start(&self, store: &Arc<Store>) {
        if self.runs.load(Ordering::Acquire) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        if !self.runs.swap(true, Ordering::AcqRel) {
            let running = Running { store: Arc::downgrade(store), finished: false };
            let task = runtime.spawn(running.sweep());
            *self.task.lock() = Some(task.abort_handle());
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

struct Running {
    store: Weak<Store>,
    finished: bool,
}

impl Running {
    async fn sweep(mut self) {
        loop {
            sleep(INTERVAL).await;
            let Some(store) = self.store.upgrade() else { return };
            if store.sweep() {
                continue;
            }
            // From here on a new hold starts a task of its own; one that came just before is seen
            // by this second look.
            store.sweeper.runs.store(false, Ordering::SeqCst);
            if !store.sweep() || store.sweeper.runs.swap(true, Ordering::SeqCst) {
                self.finished = true;
                return;
            }
        }
    }
}

/// The runtime was shut down under the task.
impl Drop for Running {
    fn drop(&mut self) {
        if !self.finished
            && let Some(store) = self.store.upgrade()
        {
            store.sweeper.runs.store(false, Ordering::SeqCst);
        }
    }
}
