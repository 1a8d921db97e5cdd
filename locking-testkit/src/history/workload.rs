use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use locking_core::{FencingToken, Lease, LockGuard, LockingModule, LockingProvider, OwnerId};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::hold::{History, HoldRecord};

/// Leases of at most this length are left to expire at times; longer ones would stall the others.
const SOON_OVER: Duration = Duration::from_millis(200);

/// Random operations of many clients on a few keys.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Workload {
    operations: usize,
    keys: usize,
    tasks_per_client: usize,
    crowd: Option<usize>,
    expiry: Duration,
    time: Option<Duration>,
    seed: u64,
}

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Anything, at random.
    Any,
    /// It waits in a crowd for guards of one key at a time.
    Crowd,
    /// It tries for such a guard and never waits: it gets a key that is free, and holds up nobody.
    Intruder,
}

impl Workload {
    /// 2,000 operations on 3 keys by 4 tasks per client, under leases of 5 s, from a random seed.
    #[must_use]
    pub fn new() -> Self {
        Self {
            operations: 2_000,
            keys: 3,
            tasks_per_client: 4,
            crowd: None,
            expiry: Duration::from_secs(5),
            time: None,
            seed: fastrand::u64(..),
        }
    }

    /// The same with so many operations in all.
    #[must_use]
    pub fn with_operations(self, operations: usize) -> Self {
        Self { operations, ..self }
    }

    /// The same for so long, however many operations that makes.
    #[must_use]
    pub fn with_time(self, time: Duration) -> Self {
        Self { time: Some(time), operations: usize::MAX, ..self }
    }

    /// The same on so many keys; at least one.
    #[must_use]
    pub fn with_keys(self, keys: usize) -> Self {
        Self { keys: keys.max(1), ..self }
    }

    /// Guards of one key at a time instead: so many tasks of the first client wait for them, and one task of
    /// each other client tries for them without waiting. So a provider that passes keys on inside a process
    /// does, and a key that is free while somebody believes in it is found.
    #[must_use]
    pub fn with_crowd(self, tasks: usize) -> Self {
        Self { crowd: Some(tasks), ..self }
    }

    /// The same with leases of this length. Some of them are left to expire.
    #[must_use]
    pub fn with_expiry(self, expiry: Duration) -> Self {
        Self { expiry, ..self }
    }

    /// The same choices again, as far as the timing lets them be.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The seed of the choices.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Does the work through these clients, on the keys that `key` names.
    ///
    /// # Panics
    ///
    /// If there is no client, or a client's task panics.
    pub async fn run(
        &self,
        clients: &[Arc<dyn LockingProvider>],
        key: impl Fn(usize) -> String,
    ) -> History {
        let keys: Vec<String> = (0..self.keys).map(key).collect();
        let until = self.time.map(|time| Instant::now() + time);
        let shared = Arc::new(Shared::new(&keys, self.operations, until));
        let mut rng = Rng::with_seed(self.seed);
        let mut workers = JoinSet::new();
        for (at, client) in clients.iter().enumerate() {
            let module = LockingModule::with_provider(Arc::clone(client));
            let (tasks, part) = match self.crowd {
                None => (self.tasks_per_client, Part::Any),
                Some(tasks) if at == 0 => (tasks, Part::Crowd),
                Some(_) => (1, Part::Intruder),
            };
            for _ in 0..tasks {
                let worker = Worker {
                    part,
                    module: module.clone(),
                    keys: keys.clone(),
                    expiry: self.expiry,
                    rng: rng.fork(),
                    shared: Arc::clone(&shared),
                };
                workers.spawn(worker.run());
            }
        }
        workers.join_all().await;
        let records = std::mem::take(&mut *locked(&shared.records));
        let operations = self.operations - shared.left.load(Ordering::Relaxed);
        History { records, operations }
    }
}

impl Default for Workload {
    fn default() -> Self {
        Self::new()
    }
}

/// What the workers have in common.
struct Shared {
    left: AtomicUsize,
    until: Option<Instant>,
    holders: AtomicUsize,
    /// Per key, a resource that refuses a token smaller than one that it has seen.
    resources: HashMap<String, AtomicU64>,
    records: Mutex<Vec<HoldRecord>>,
}

impl Shared {
    fn new(keys: &[String], operations: usize, until: Option<Instant>) -> Self {
        Self {
            left: AtomicUsize::new(operations),
            until,
            holders: AtomicUsize::new(0),
            resources: keys.iter().map(|key| (key.clone(), AtomicU64::new(0))).collect(),
            records: Mutex::default(),
        }
    }

    /// An intruder has a turn as long as others have.
    fn take_turn(&self, part: Part) -> bool {
        if self.until.is_some_and(|until| until <= Instant::now()) {
            return false;
        }
        if part == Part::Intruder {
            return self.left.load(Ordering::Relaxed) > 0;
        }
        let less_one = |left: usize| left.checked_sub(1);
        self.left.try_update(Ordering::Relaxed, Ordering::Relaxed, less_one).is_ok()
    }

    /// Writes to a key's resource; whether it was refused.
    fn is_fenced_off(&self, key: &str, token: FencingToken) -> bool {
        let resource = &self.resources[key];
        resource.fetch_max(token.get(), Ordering::SeqCst) > token.get()
    }
}

struct Worker {
    part: Part,
    module: LockingModule,
    keys: Vec<String>,
    expiry: Duration,
    rng: Rng,
    shared: Arc<Shared>,
}

impl Worker {
    async fn run(mut self) {
        while self.shared.take_turn(self.part) {
            let keys = self.some_keys();
            match (self.part, self.rng.u8(..10)) {
                (Part::Any, 0..=3) | (Part::Crowd, 0..=8) => self.hold_a_guard(keys).await,
                (Part::Any, 4..=7) => self.hold_a_lease(keys).await,
                (Part::Any, 8) | (Part::Crowd, _) => self.cancel_a_wait(keys).await,
                (Part::Any, _) => self.release_what_is_not_ours(&keys[0]).await,
                (Part::Intruder, _) => {
                    self.hold_a_guard(keys).await;
                    sleep(Duration::from_micros(self.rng.u64(..2_000))).await;
                }
            }
        }
    }

    fn some_keys(&mut self) -> Vec<String> {
        let count = if self.part == Part::Any && self.rng.u8(..4) == 0 { 2 } else { 1 };
        self.rng.choose_multiple(&self.keys, count).into_iter().cloned().collect()
    }

    async fn hold_a_guard(&mut self, keys: Vec<String>) {
        let (patience, asked) = (self.patience(), Instant::now());
        let lock = self.module.lock(keys).lease(self.expiry).timeout(patience);
        let Ok(guard) = lock.await else { return };
        let records = self.records(guard.lease(), asked);
        let records = self.work_under(&guard, records).await;
        self.keep(records);
        if self.rng.bool() {
            drop(guard);
        } else {
            // Its answer depends on the timing; the history tells whether it was right.
            let _ = guard.release().await;
        }
    }

    /// Works for a moment, and finds out until when the guard was valid meanwhile. A check speaks for what
    /// was before it.
    async fn work_under(
        &mut self,
        guard: &LockGuard,
        mut records: Vec<HoldRecord>,
    ) -> Vec<HoldRecord> {
        let begun = Instant::now();
        if guard.check().is_err() {
            return records;
        }
        self.pause().await;
        let written = self.write(&mut records);
        let until = if guard.check().is_ok() { written } else { begun };
        valid_until(until, written, records)
    }

    async fn hold_a_lease(&mut self, keys: Vec<String>) {
        let (owner, patience, asked) = (OwnerId::fresh(), self.patience(), Instant::now());
        let acquire = self.module.acquire(&keys).owner(&owner).expire(self.expiry).wait(patience);
        let Ok(lease) = acquire.await else { return };
        let mut records = self.records(&lease, asked);
        // Nobody else knows the owner: until this task releases it, or its time may be over.
        let mut surely = asked + self.expiry;
        if self.rng.bool() {
            // After a wait, this is what tells since when its time counts.
            let asked = Instant::now();
            if self.module.extend(&lease, self.expiry).await.is_ok() {
                surely = asked + self.expiry;
            }
        }
        self.pause().await;
        let written = self.write(&mut records);
        self.keep(valid_until(written.min(surely), written, records));
        match self.rng.u8(..4) {
            0 if self.expiry <= SOON_OVER => {} // Left to its expiry.
            1 => drop(self.module.release(&keys).owner(&owner).await),
            _ => drop(self.module.release_lease(&lease).await),
        }
    }

    async fn cancel_a_wait(&mut self, keys: Vec<String>) {
        let patience = Duration::from_micros(self.rng.u64(..800));
        let wait = self.module.lock(keys).lease(self.expiry).timeout(self.expiry);
        drop(timeout(patience, wait.into_future()).await);
    }

    async fn release_what_is_not_ours(&mut self, key: &str) {
        drop(self.module.release(key).await);
        drop(self.module.release(key).owner(OwnerId::fresh()).await);
    }

    fn records(&self, lease: &Lease, asked: Instant) -> Vec<HoldRecord> {
        let (granted, holder) =
            (Instant::now(), self.shared.holders.fetch_add(1, Ordering::Relaxed));
        let keys = lease.keys().iter();
        keys.map(|leased| {
            HoldRecord::new(holder, leased.key.to_string(), leased.token, asked, granted)
        })
        .collect()
    }

    /// Writes to the resource of each key, and says when that was done.
    fn write(&self, records: &mut [HoldRecord]) -> Instant {
        for record in records {
            record.was_fenced_off = self.shared.is_fenced_off(&record.key, record.token);
        }
        Instant::now()
    }

    fn keep(&self, records: Vec<HoldRecord>) {
        locked(&self.shared.records).extend(records);
    }

    fn patience(&mut self) -> Duration {
        match (self.part, self.rng.u8(..4)) {
            (Part::Any, 0) | (Part::Intruder, _) => Duration::ZERO,
            (Part::Any, 1) => Duration::from_millis(self.rng.u64(1..5)),
            _ => Duration::from_secs(5),
        }
    }

    /// Mostly short; under leases that are soon over, at times nearly as long as one: a store that
    /// ends them early shows by that.
    async fn pause(&mut self) {
        match self.rng.u8(..16) {
            12.. if self.expiry <= SOON_OVER => {
                sleep(self.expiry.mul_f64(0.4 + self.rng.f64() * 0.6)).await;
            }
            0 | 1 => sleep(Duration::from_micros(self.rng.u64(..2_000))).await,
            2..=9 => tokio::task::yield_now().await,
            _ => {}
        }
    }
}

/// The same, valid from the answer until then. Who wrote later may well have been refused.
fn valid_until(until: Instant, written: Instant, records: Vec<HoldRecord>) -> Vec<HoldRecord> {
    let proven = |record: HoldRecord| {
        let (from, was_fenced_off) = (record.granted, record.was_fenced_off && written <= until);
        HoldRecord { was_fenced_off, ..record }.with_valid(from, until)
    };
    records.into_iter().map(proven).collect()
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
