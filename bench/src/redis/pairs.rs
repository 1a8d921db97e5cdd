//! Every task has a key of its own: what a call costs where nobody waits.

use locking_core::LockingModule;

use super::bare::{EXPIRY, SetAndDelete};
use super::server::Server;
use crate::measure::{Variant, Work};
use crate::rounds::{Group, ROUND, Target, Workers};
use crate::{Result, keys, owners};

pub(super) const ONE_THREAD: &str = "a key of its own, owner and expiry, a runtime of one thread";

const OURS: &str = "acquire + release";
const BARE: &str = "SET NX + script";
const RSLOCK: &str = "rslock";

pub(super) async fn group(server: &Server, module: &LockingModule, tasks: usize) -> Result<Group> {
    let calls = Pairs { module: module.clone(), keys: keys(tasks), owners: owners(tasks) };
    let target = |floors, ratio| Target { variant: OURS, floors, ratio };
    let targets = if tasks == 1 {
        vec![target(&[BARE], 0.85), target(&[RSLOCK], 1.0)]
    } else {
        vec![target(&[BARE], 0.7), target(&[BARE], 1.0)]
    };
    Ok(Group {
        title: "a key of its own, owner and expiry",
        workers: Workers::Tasks(tasks),
        round: ROUND,
        variants: vec![
            Variant::new(OURS, calls),
            Variant::new(BARE, SetAndDelete::new(server, tasks).await?),
            Variant::new(RSLOCK, Rslock::new(server, tasks)),
        ],
        floors: &[BARE, RSLOCK],
        targets,
        rounds: Vec::new(),
    })
}

struct Pairs {
    module: LockingModule,
    keys: Vec<String>,
    owners: Vec<String>,
}

impl Work for Pairs {
    const BATCH: u64 = 1;

    async fn once(&self, task: usize) {
        let acquired = self.module.acquire(&self.keys[task]).owner(&self.owners[task]);
        acquired.expire(EXPIRY).await.expect("nobody else wants it");
        let released = self.module.release(&self.keys[task]).owner(&self.owners[task]).await;
        assert!(released.expect("the provider is open"));
    }
}

/// The crate `rslock`.
struct Rslock {
    manager: rslock::LockManager,
    keys: Vec<String>,
}

impl Rslock {
    fn new(server: &Server, tasks: usize) -> Self {
        let keys = keys(tasks).into_iter().map(|key| format!("other:{key}")).collect();
        Self { manager: rslock::LockManager::new(vec![server.url()]), keys }
    }
}

impl Work for Rslock {
    const BATCH: u64 = 1;

    async fn once(&self, task: usize) {
        let lock = self.manager.lock(self.keys[task].as_str(), EXPIRY).await;
        lock.expect("nobody else wants it").release().await;
    }
}
