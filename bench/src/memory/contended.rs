//! All tasks want one key, and whoever has it yields once: what handing it on costs.

use locking_core::{AcquireRequest, KeySet, LockKey, LockingModule, LockingProvider, Wait};
use locking_memory::MemoryProvider;
use tokio::task::yield_now;

use crate::measure::{Variant, Work};
use crate::memory::floors::{BareMutex, KeyLock, KeyedLock, MutexUntilDeadline};
use crate::memory::{PATIENCE, module};
use crate::rounds::{Group, ROUND, Target, Workers};

const KEY: &str = "prod_00000000123";
const UNTIL_DEADLINE: &str = "mutex, deadline";
const FLOORS: &[&str] = &["tokio mutex", UNTIL_DEADLINE, "key-lock", "keyed-lock"];
/// A bare mutex is waited for without an end; so is the key, beside the usual wait until a deadline.
const CALLS: [&str; 6] = [
    "execute",
    "lock, guard dropped",
    "acquire with a wait + release",
    "the same, no deadline",
    "provider alone",
    "provider alone, no deadline",
];

pub(crate) fn group(tasks: usize) -> Group {
    let [execute, lock, acquire, acquire_endless, alone, alone_endless] = CALLS;
    let target = |variant| Target { variant, floors: &["tokio mutex"], ratio: 0.65 };
    Group {
        title: "one key for all",
        workers: Workers::Tasks(tasks),
        round: ROUND,
        variants: vec![
            Variant::new(execute, Execute(module())),
            Variant::new(lock, Lock(module())),
            Variant::new(acquire, Acquire(module(), Wait::For(PATIENCE))),
            Variant::new(acquire_endless, Acquire(module(), Wait::Unlimited)),
            Variant::new(alone, Alone(MemoryProvider::new(), Wait::For(PATIENCE))),
            Variant::new(alone_endless, Alone(MemoryProvider::new(), Wait::Unlimited)),
            Variant::new("tokio mutex", BareMutex::contended()),
            Variant::new(UNTIL_DEADLINE, MutexUntilDeadline::default()),
            Variant::new("key-lock", KeyLock::new(vec![KEY.to_owned()], true)),
            Variant::new("keyed-lock", KeyedLock::new(vec![KEY.to_owned()], true)),
        ],
        floors: FLOORS,
        targets: CALLS.map(target).into(),
        rounds: Vec::new(),
    }
}

struct Execute(LockingModule);

impl Work for Execute {
    async fn once(&self, _: usize) {
        let done = self.0.execute(KEY, |_| yield_now()).timeout(PATIENCE).await;
        done.expect("its turn comes");
    }
}

struct Lock(LockingModule);

impl Work for Lock {
    async fn once(&self, _: usize) {
        let _guard = self.0.lock(KEY).timeout(PATIENCE).await.expect("its turn comes");
        yield_now().await;
    }
}

struct Acquire(LockingModule, Wait);

impl Work for Acquire {
    async fn once(&self, _: usize) {
        self.0.acquire(KEY).wait(self.1).await.expect("its turn comes");
        yield_now().await;
        assert!(self.0.release(KEY).await.expect("the provider is open"));
    }
}

/// Without the module before it.
struct Alone(MemoryProvider, Wait);

impl Work for Alone {
    async fn once(&self, _: usize) {
        let keys = || KeySet::from(LockKey::new(KEY).expect("a key"));
        let wait = self.1.deadline().expect("a short wait");
        let request = AcquireRequest::new(keys()).with_wait(wait);
        self.0.acquire(request).await.expect("its turn comes");
        yield_now().await;
        assert!(self.0.release(keys(), None).await.expect("the provider is open"));
    }
}
