//! The bare work that the module's calls are compared with.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use parking_lot::Mutex;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::keys;
use crate::measure::Work;
use crate::memory::PATIENCE;

/// Locks a mutex that was there before, and unlocks it.
pub(crate) struct BareMutex {
    pub(crate) mutexes: Vec<tokio::sync::Mutex<()>>,
    pub(crate) yields: bool,
}

impl BareMutex {
    /// One mutex for each task.
    pub(crate) fn one_each(tasks: usize) -> Self {
        Self { mutexes: (0..tasks).map(|_| tokio::sync::Mutex::default()).collect(), yields: false }
    }

    /// One for all, and whoever has it yields once.
    pub(crate) fn contended() -> Self {
        Self { mutexes: vec![tokio::sync::Mutex::default()], yields: true }
    }
}

impl Work for BareMutex {
    async fn once(&self, task: usize) {
        let _guard = self.mutexes[task % self.mutexes.len()].lock().await;
        yield_if(self.yields).await;
    }
}

/// A mutex for all, which is waited for until a deadline, as the module's calls wait: whoever has it yields once.
#[derive(Default)]
pub(crate) struct MutexUntilDeadline(tokio::sync::Mutex<()>);

impl Work for MutexUntilDeadline {
    async fn once(&self, _: usize) {
        let _guard = timeout(PATIENCE, self.0.lock()).await.expect("its turn comes");
        yield_now().await;
    }
}

/// Inserts a key into a sharded map, and removes it.
pub(crate) struct ShardedMap {
    hasher: RandomState,
    shards: Vec<Shard>,
    keys: Vec<String>,
}

/// On cache lines of its own, as the memory provider's are.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<HashTable<(String, u64)>>);

impl ShardedMap {
    pub(crate) fn new(tasks: usize) -> Self {
        let shards = (0..64).map(|_| Shard::default()).collect();
        Self { hasher: RandomState::default(), shards, keys: keys(tasks) }
    }

    pub(crate) fn insert(&self, key: &str, value: u64) {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash).lock();
        let rehash = |(key, _): &(String, u64)| self.hasher.hash_one(key);
        if let Entry::Vacant(place) = shard.entry(hash, |(held, _)| held == key, rehash) {
            place.insert((key.to_owned(), value));
        }
    }

    pub(crate) fn remove(&self, key: &str) {
        let hash = self.hasher.hash_one(key);
        if let Ok(found) = self.shard(hash).lock().find_entry(hash, |(held, _)| held == key) {
            found.remove();
        }
    }

    /// Looks at every entry, and removes those with this value.
    pub(crate) fn remove_all(&self, value: u64) {
        for shard in &self.shards {
            shard.0.lock().retain(|(_, held)| *held != value);
        }
    }

    fn shard(&self, hash: u64) -> &Mutex<HashTable<(String, u64)>> {
        &self.shards[(hash >> 32) as usize % self.shards.len()].0
    }
}

impl Work for ShardedMap {
    async fn once(&self, task: usize) {
        self.insert(&self.keys[task], 1);
        self.remove(&self.keys[task]);
    }
}

/// The crate `key-lock`.
pub(crate) struct KeyLock {
    pub(crate) locks: key_lock::KeyLock<String>,
    pub(crate) keys: Vec<String>,
    pub(crate) yields: bool,
}

impl KeyLock {
    pub(crate) fn new(keys: Vec<String>, yields: bool) -> Self {
        Self { locks: key_lock::KeyLock::new(), keys, yields }
    }
}

impl Work for KeyLock {
    async fn once(&self, task: usize) {
        let key = self.keys[task % self.keys.len()].clone();
        let _guard = self.locks.lock(key).await;
        yield_if(self.yields).await;
    }
}

/// The crate `keyed-lock`.
pub(crate) struct KeyedLock {
    pub(crate) locks: keyed_lock::r#async::KeyedLock<String>,
    pub(crate) keys: Vec<String>,
    pub(crate) yields: bool,
}

impl KeyedLock {
    pub(crate) fn new(keys: Vec<String>, yields: bool) -> Self {
        Self { locks: keyed_lock::r#async::KeyedLock::new(), keys, yields }
    }
}

impl Work for KeyedLock {
    async fn once(&self, task: usize) {
        let key = self.keys[task % self.keys.len()].clone();
        let _guard = self.locks.lock(key).await;
        yield_if(self.yields).await;
    }
}

async fn yield_if(yields: bool) {
    if yields {
        yield_now().await;
    }
}
