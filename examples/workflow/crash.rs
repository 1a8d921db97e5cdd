//! The part in which the process dies: the same program again, as a worker.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use locking::{Error, LockingConfig, LockingModule, ProviderConfig};
use tokio::process::Command;

use crate::engine::Engine;
use crate::journal::Journal;
use crate::shop::Shop;
use crate::{Result, charge, lock_on};

/// Tells a process that it is a worker, and in which step it dies.
const DIES_IN: &str = "WORKFLOW_DIES_IN";

pub(crate) async fn a_process_dies() -> Result {
    println!("4. A process that charges an order dies, twice:");
    let Some(server) = server() else {
        println!(
            "   left out: the locks have to outlive the process. Say where a server is, such as"
        );
        println!(
            "   LOCKING_REDIS_URL=redis://127.0.0.1:6379 cargo run --package workflow --example workflow"
        );
        println!(
            "   LOCKING_POSTGRES_URL=postgres://me@127.0.0.1/shop cargo run --package workflow --example workflow"
        );
        return Ok(());
    };
    let module = LockingModule::new(LockingConfig::new().with_provider(server)).await?;
    let order = format!("order_{}", std::process::id());
    let journal = std::env::temp_dir().join(format!("workflow-{order}"));

    let mut tokens = Vec::new();
    for step in ["lock", "pay"] {
        assert!(!worker(&journal, &order, step).await?.success(), "it dies in {step}");
        let refused = module.acquire(&order).await.expect_err("the dead process's run holds it");
        assert!(matches!(refused, Error::Held { .. }), "{refused:?}");
        println!("   another process meanwhile: {refused}; a new process goes on with the run");
        tokens.push(module.inspect(&order).await?.ok_or("it is held")?.token);
    }
    // The first one died before the engine had written down its lease.
    assert!(tokens[0] < tokens[1], "the next one doesn't wait for it: it takes the key anew");
    assert!(worker(&journal, &order, "none").await?.success(), "it comes to its end");
    assert!(module.inspect(&order).await?.is_none(), "and gives the lock back");

    std::fs::remove_file(journal)?;
    module.close(Duration::from_secs(1)).await?;
    Ok(())
}

async fn worker(journal: &Path, order: &str, dies_in: &str) -> Result<ExitStatus> {
    let mut worker = Command::new(std::env::current_exe()?);
    worker.arg(journal).arg(order).env(DIES_IN, dies_in).kill_on_drop(true);
    Ok(worker.status().await?)
}

pub(crate) fn is_worker() -> bool {
    std::env::var_os(DIES_IN).is_some()
}

/// Begins the workflow, or goes on with it where the process before it died.
pub(crate) async fn work() -> Result {
    let mut arguments = std::env::args().skip(1);
    let journal = PathBuf::from(arguments.next().ok_or("which journal?")?);
    let order = arguments.next().ok_or("which order?")?;
    let config = LockingConfig::new().with_provider(server().ok_or("which server?")?);
    let module = LockingModule::new(config).await?;

    let shop = Shop::new(module.clone()).dying_in(std::env::var(DIES_IN).ok());
    let recorded = Journal::read(&journal)?;
    let engine = Engine::new(Journal::open(&journal)?, shop);
    let done = match recorded {
        None => engine.run(charge(), &order, lock_on(&order)?).await?,
        Some(recorded) => engine.resume(recorded).await?,
    };
    assert!(done.output::<bool>("paid")? && done.output::<bool>("unlocked")?);
    module.close(Duration::from_secs(1)).await?;
    Ok(())
}

/// What stores the locks of this part, if it was said.
fn server() -> Option<ProviderConfig> {
    let is_set = |name| std::env::var_os(name).is_some();
    if is_set("LOCKING_POSTGRES_URL") {
        let postgres = ProviderConfig::new("locking-postgres");
        let postgres = postgres.with_option("url", "${LOCKING_POSTGRES_URL}");
        Some(postgres.with_option("schema", "workflow").with_option("migrate_at_start", true))
    } else if is_set("LOCKING_REDIS_URL") {
        let redis = ProviderConfig::new("locking-redis");
        Some(redis.with_option("redis_url", "${LOCKING_REDIS_URL}"))
    } else {
        None
    }
}
