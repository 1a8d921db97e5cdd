//! Every task has a key of its own: what a call costs where nobody waits.

use std::time::Duration;

use locking_core::LockingModule;

use crate::measure::{Variant, Work};
use crate::memory::floors::{BareMutex, KeyLock, KeyedLock, ShardedMap};
use crate::memory::module;
use crate::rounds::{Group, ROUND, Target, Workers};
use crate::{keys, owners};

const FLOORS: &[&str] = &["tokio mutex", "sharded map", "key-lock", "keyed-lock"];

pub(crate) fn group(tasks: usize) -> Group {
    let calls = || Calls { module: module(), keys: keys(tasks), owners: owners(tasks) };
    Group {
        title: "a key of its own",
        workers: Workers::Tasks(tasks),
        round: ROUND,
        variants: vec![
            Variant::new("acquire + release", AcquireRelease(calls())),
            Variant::new("the same, owner and expiry", OwnedAcquireRelease(calls())),
            Variant::new("lock, guard dropped", LockAndDrop(calls())),
            Variant::new("lock, guard released", LockAndRelease(calls())),
            Variant::new("execute", Execute(calls())),
            Variant::new("tokio mutex", BareMutex::one_each(tasks)),
            Variant::new("sharded map", ShardedMap::new(tasks)),
            Variant::new("key-lock", KeyLock::new(keys(tasks), false)),
            Variant::new("keyed-lock", KeyedLock::new(keys(tasks), false)),
        ],
        floors: FLOORS,
        targets: vec![Target {
            variant: "acquire + release",
            floors: &["key-lock", "keyed-lock"],
            ratio: 0.5,
        }],
        rounds: Vec::new(),
    }
}

struct Calls {
    module: LockingModule,
    keys: Vec<String>,
    owners: Vec<String>,
}

struct AcquireRelease(Calls);

impl Work for AcquireRelease {
    async fn once(&self, task: usize) {
        let Calls { module, keys, .. } = &self.0;
        module.acquire(&keys[task]).await.expect("nobody else wants it");
        assert!(module.release(&keys[task]).await.expect("the provider is open"));
    }
}

struct OwnedAcquireRelease(Calls);

impl Work for OwnedAcquireRelease {
    async fn once(&self, task: usize) {
        let Calls { module, keys, owners } = &self.0;
        let acquired = module.acquire(&keys[task]).owner(&owners[task]);
        acquired.expire(Duration::from_secs(60)).await.expect("nobody else wants it");
        let released = module.release(&keys[task]).owner(&owners[task]).await;
        assert!(released.expect("the provider is open"));
    }
}

struct LockAndDrop(Calls);

impl Work for LockAndDrop {
    async fn once(&self, task: usize) {
        let _guard = self.0.module.lock(&self.0.keys[task]).await.expect("nobody else wants it");
    }
}

struct LockAndRelease(Calls);

impl Work for LockAndRelease {
    async fn once(&self, task: usize) {
        let guard = self.0.module.lock(&self.0.keys[task]).await.expect("nobody else wants it");
        guard.release().await.expect("it was held");
    }
}

struct Execute(Calls);

impl Work for Execute {
    async fn once(&self, task: usize) {
        let done = self.0.module.execute(&self.0.keys[task], |_| async {}).await;
        done.expect("nobody else wants it");
    }
}
