use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep, sleep_until};

use super::renewal::renew;
use super::state::{CONFIRMATION, GuardState, LOOK};
use crate::closing::Closing;
use crate::moment::Moment;

/// For how long the timer goes on without guards, if there were some since it last looked: on a busy key one
/// follows the other, and most are over before they are due.
const LINGER: Duration = CONFIRMATION;

/// The due time of a guard that waits for no renewal: it hangs on a session, or one is under way.
const NOT_DUE: u64 = u64::MAX;

/// The keepers of a module: one per runtime, because a guard is renewed where it was acquired.
#[derive(Debug, Default)]
pub(crate) struct Keepers(Mutex<Vec<(Id, Arc<Keeper>)>>);

impl Keepers {
    /// The keeper of the runtime that polls the caller.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, or in one without a timer.
    pub(crate) fn current(&self, closing: &Arc<Closing>) -> Arc<Keeper> {
        let runtime = Handle::current();
        let mut keepers = locked(&self.0);
        let id = runtime.id();
        if let Some((_, keeper)) = keepers.iter().find(|(known, _)| *known == id) {
            return Arc::clone(keeper);
        }
        // Renewals wait by its timer: without one this panics here, where it is seen.
        drop(sleep(Duration::ZERO));
        // Runtimes come and go: those without guards are forgotten here, unless somebody is about to
        // register one. Who is has a clone, which is handed out under this mutex alone.
        keepers.retain(|(_, keeper)| !keeper.is_idle() || Arc::strong_count(keeper) > 1);
        let keeper = Arc::new(Keeper::new(runtime, Arc::clone(closing)));
        keepers.push((id, Arc::clone(&keeper)));
        keeper
    }

    /// Every guard that is in use, less those that a close has broken.
    pub(crate) fn guards(&self) -> Vec<Arc<GuardState>> {
        let keepers: Vec<_> =
            locked(&self.0).iter().map(|(_, keeper)| Arc::clone(keeper)).collect();
        keepers.iter().flat_map(|keeper| keeper.guards()).collect()
    }

    /// Whether no guard is in use, and none is still being given back.
    pub(crate) fn are_drained(&self) -> bool {
        locked(&self.0).iter().all(|(_, keeper)| keeper.is_drained())
    }
}

/// Without a module nobody registers any more: idle timers needn't wait for their next turn.
impl Drop for Keepers {
    fn drop(&mut self) {
        for (_, keeper) in locked(&self.0).iter() {
            keeper.changed.notify_one();
        }
    }
}

/// Knows the guards of one runtime, and starts the renewal of each when it is due.
///
/// One timer task serves all of them. It runs while there are guards and ends by itself.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) runtime: Handle,
    closing: Arc<Closing>,
    started: Instant,
    next_id: AtomicU64,
    schedule: Mutex<Schedule>,
    changed: Notify,
}

#[derive(Debug)]
struct Schedule {
    /// Every guard, by its due time in nanoseconds since `started`, then by its id.
    guards: BTreeMap<(u64, u64), Arc<GuardState>>,
    /// How many holds are being given back in the background.
    giving_back: usize,
    timer_runs: bool,
    /// When the timer wakes by itself.
    wakes_at: u64,
    /// Guards with an id from here on up came after the timer last looked.
    seen: u64,
    /// For how long the machine had been suspended when the timer last looked.
    suspended: Duration,
}

impl Keeper {
    fn new(runtime: Handle, closing: Arc<Closing>) -> Self {
        Self {
            runtime,
            closing,
            started: Instant::now(),
            next_id: AtomicU64::new(0),
            schedule: Mutex::new(Schedule {
                guards: BTreeMap::new(),
                giving_back: 0,
                timer_runs: false,
                wakes_at: NOT_DUE,
                seen: 0,
                suspended: Moment::suspended(),
            }),
            changed: Notify::new(),
        }
    }

    /// Takes a guard into care. `None` if the module is being closed.
    pub(crate) fn register(self: &Arc<Self>, guard: &Arc<GuardState>, now: Instant) -> Option<u64> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let due = self.due(guard.first_pause(now), now);
        let mut schedule = locked(&self.schedule);
        // Under the lock under which `guards` looks: a close sees the guard, or this sees the close.
        if self.closing.has_begun() {
            return None;
        }
        guard.due.store(due, Ordering::Relaxed);
        schedule.guards.insert((due, id), Arc::clone(guard));
        self.wake_by(schedule, due);
        Some(id)
    }

    /// Plans the next renewal of a guard whose last one came through: at a third of its lease.
    pub(super) fn schedule(self: &Arc<Self>, id: u64, guard: &GuardState) {
        self.schedule_after(guard.expiry.get() / 3, id);
    }

    /// Plans it for that much later than now; nothing for a guard that was removed meanwhile.
    pub(super) fn schedule_after(self: &Arc<Self>, pause: Duration, id: u64) {
        let due = self.due(pause, Instant::now());
        let mut schedule = locked(&self.schedule);
        if let Some(guard) = schedule.guards.remove(&(NOT_DUE, id)) {
            guard.due.store(due, Ordering::Relaxed);
            schedule.guards.insert((due, id), guard);
            self.wake_by(schedule, due);
        }
    }

    /// Ends the care for a guard.
    pub(crate) fn remove(&self, id: u64, guard: &GuardState) {
        let mut schedule = locked(&self.schedule);
        schedule.guards.remove(&(guard.due.load(Ordering::Relaxed), id));
        let ends_timer = schedule.guards.is_empty() && schedule.wakes_at == NOT_DUE;
        let timer_runs = schedule.timer_runs;
        drop(schedule);
        if ends_timer && timer_runs {
            self.changed.notify_one();
        }
        self.closing.one_ended();
    }

    fn guards(&self) -> Vec<Arc<GuardState>> {
        let schedule = locked(&self.schedule);
        schedule.guards.values().filter(|guard| !guard.is_broken()).cloned().collect()
    }

    /// Counts a hold that is given back in the background, until the answer is dropped.
    pub(super) fn giving_back(self: &Arc<Self>) -> GivingBack {
        locked(&self.schedule).giving_back += 1;
        GivingBack(Arc::clone(self))
    }

    fn is_drained(&self) -> bool {
        let schedule = locked(&self.schedule);
        schedule.giving_back == 0 && schedule.guards.values().all(|guard| guard.is_broken())
    }

    fn is_idle(&self) -> bool {
        let schedule = locked(&self.schedule);
        schedule.guards.is_empty() && schedule.giving_back == 0 && !schedule.timer_runs
    }

    /// That much later than now.
    fn due(&self, pause: Duration, now: Instant) -> u64 {
        u64::try_from((now.saturating_duration_since(self.started) + pause).as_nanos())
            .unwrap_or(NOT_DUE - 1)
    }

    /// Sees to it that the timer looks at `due` at the latest.
    fn wake_by(self: &Arc<Self>, mut schedule: MutexGuard<'_, Schedule>, due: u64) {
        if !schedule.timer_runs {
            schedule.timer_runs = true;
            drop(schedule);
            let timer = Timer { keeper: Arc::clone(self), finished: false };
            self.runtime.spawn(timer.run());
        } else if due < schedule.wakes_at {
            drop(schedule);
            self.changed.notify_one();
        }
    }

    fn instant(&self, due: u64) -> Instant {
        self.started + Duration::from_nanos(due)
    }
}

/// A hold that is given back in the background: a close waits for it.
pub(super) struct GivingBack(Arc<Keeper>);

impl Drop for GivingBack {
    fn drop(&mut self) {
        locked(&self.0.schedule).giving_back -= 1;
        self.0.closing.one_ended();
    }
}

/// The task that waits for the next due time.
struct Timer {
    keeper: Arc<Keeper>,
    finished: bool,
}

impl Timer {
    async fn run(mut self) {
        while let Some(next) = self.turn() {
            let keeper = &self.keeper;
            let due = async {
                match next {
                    NOT_DUE => std::future::pending().await,
                    due => sleep_until(keeper.instant(due).min(Instant::now() + LOOK)).await,
                }
            };
            tokio::select! {
                () = due => {}
                () = keeper.changed.notified() => {}
            }
        }
    }

    /// Starts the renewals that are due. Answers when to look again; `None`: there are no guards any more.
    fn turn(&mut self) -> Option<u64> {
        let keeper = &self.keeper;
        let mut schedule = locked(&keeper.schedule);
        let now = u64::try_from(keeper.started.elapsed().as_nanos()).unwrap_or(NOT_DUE - 1);
        // After suspend nobody knows which leases are over: all of them are renewed now, or found lost.
        let suspended = Moment::suspended();
        let was_suspended = suspended > schedule.suspended + LOOK / 10;
        schedule.suspended = suspended;
        let due_by = if was_suspended { NOT_DUE - 1 } else { now };
        while let Some(entry) = schedule.guards.first_entry()
            && entry.key().0 <= due_by
        {
            let id = entry.key().1;
            let guard = entry.remove();
            guard.due.store(NOT_DUE, Ordering::Relaxed);
            schedule.guards.insert((NOT_DUE, id), Arc::clone(&guard));
            tokio::spawn(renew(Arc::clone(keeper), id, guard));
        }
        let known = keeper.next_id.load(Ordering::Relaxed);
        let came_meanwhile = std::mem::replace(&mut schedule.seen, known) < known;
        let next = match schedule.guards.first_key_value() {
            Some((&(next, _), _)) => next,
            None if came_meanwhile => now + LINGER.as_nanos() as u64,
            None => {
                schedule.timer_runs = false;
                schedule.wakes_at = NOT_DUE;
                self.finished = true;
                return None;
            }
        };
        schedule.wakes_at = next;
        Some(next)
    }
}

/// The runtime was shut down under the timer: a later guard needs another one.
impl Drop for Timer {
    fn drop(&mut self) {
        if !self.finished {
            let mut schedule = locked(&self.keeper.schedule);
            schedule.timer_runs = false;
            schedule.wakes_at = NOT_DUE;
        }
    }
}

/// No code that can panic half way runs under these locks.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
