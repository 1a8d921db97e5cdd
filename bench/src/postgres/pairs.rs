//! Every task has a key of its own: what a call costs where nobody waits.

use locking_core::LockingModule;
use sqlx::postgres::{PgAdvisoryLock, PgPool, PgPoolOptions};

use super::bare::{EXPIRY, InsertAndDelete, POOL};
use super::server::Server;
use crate::measure::{Variant, Work};
use crate::rounds::{Group, Target, Workers};
use crate::{Result, keys, owners};

pub(super) const ONE_THREAD: &str = "a key of its own, a runtime of one thread";

const LEASES: &str = "acquire + release, durable";
const ANONYMOUS: &str = "the same without an owner";
const JOBS: &str = "execute an empty job";
const BARE: &str = "INSERT + DELETE";
const UNLOGGED: &str = "the same, unlogged";
const SQLX: &str = "sqlx";

/// Longer than others: one wait for the disk more or less is no matter then.
const ROUND: std::time::Duration = std::time::Duration::from_millis(250);

pub(super) async fn group(server: &Server, module: &LockingModule, tasks: usize) -> Result<Group> {
    let leases = |owners| Leases { module: module.clone(), keys: keys(tasks), owners };
    let target = |variant, floor, ratio| Target { variant, floors: floor, ratio };
    let (durable, job) = if tasks == 1 { (0.85, 1.45) } else { (2.5, 1.25) };
    Ok(Group {
        title: "a key of its own",
        workers: Workers::Tasks(tasks),
        round: ROUND,
        variants: vec![
            Variant::new(LEASES, leases(Some(owners(tasks)))),
            Variant::new(ANONYMOUS, leases(None)),
            Variant::new(JOBS, Jobs { module: module.clone(), keys: keys(tasks) }),
            Variant::new(BARE, InsertAndDelete::durable(server, tasks).await?),
            Variant::new(UNLOGGED, InsertAndDelete::unlogged(server, tasks).await?),
            Variant::new(SQLX, Sqlx::new(server, tasks).await?),
        ],
        floors: &[BARE, UNLOGGED, SQLX],
        targets: vec![
            target(LEASES, &[BARE], durable),
            target(ANONYMOUS, &[BARE], durable),
            target(JOBS, &[BARE], job),
            // Neither outlives its process.
            target(JOBS, &[SQLX], 1.0),
        ],
        rounds: Vec::new(),
    })
}

/// A lease without an owner that ends within a minute is given back without waiting for the disk: if a crash brings
/// it back, nobody can enter it.
struct Leases {
    module: LockingModule,
    keys: Vec<String>,
    owners: Option<Vec<String>>,
}

impl Work for Leases {
    const BATCH: u64 = 1;

    async fn once(&self, task: usize) {
        let (mut acquire, mut release) =
            (self.module.acquire(&self.keys[task]), self.module.release(&self.keys[task]));
        if let Some(owners) = &self.owners {
            (acquire, release) = (acquire.owner(&owners[task]), release.owner(&owners[task]));
        }
        acquire.expire(EXPIRY).await.expect("nobody else wants it");
        assert!(release.await.expect("the provider is open"));
    }
}

struct Jobs {
    module: LockingModule,
    keys: Vec<String>,
}

impl Work for Jobs {
    const BATCH: u64 = 1;

    async fn once(&self, task: usize) {
        let done = self.module.execute(&self.keys[task], |_| async {}).await;
        done.expect("nobody else wants it");
    }
}

/// The advisory locks of the crate `sqlx`, which end with their session.
struct Sqlx {
    pool: PgPool,
    locks: Vec<PgAdvisoryLock>,
}

impl Sqlx {
    async fn new(server: &Server, tasks: usize) -> Result<Self> {
        let most = u32::try_from(POOL)?;
        let pool = PgPoolOptions::new().max_connections(most).connect(&server.url()).await?;
        Ok(Self { pool, locks: keys(tasks).into_iter().map(PgAdvisoryLock::new).collect() })
    }
}

impl Work for Sqlx {
    const BATCH: u64 = 1;

    async fn once(&self, task: usize) {
        let connection = self.pool.acquire().await.expect("the server answers");
        let guard = self.locks[task].acquire(connection).await.expect("nobody else wants it");
        guard.release_now().await.expect("the server answers");
    }
}
