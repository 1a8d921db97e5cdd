//! What expires is forgotten, whatever becomes of the runtime in which that was to happen.

use std::sync::Arc;
use std::time::Duration;

use locking_core::LockingModule;
use locking_memory::MemoryProvider;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn module() -> (Arc<MemoryProvider>, LockingModule) {
    let provider = Arc::new(MemoryProvider::new());
    (Arc::clone(&provider), LockingModule::with_provider(provider))
}

/// A runtime that does nothing unless it is driven, and whose clock goes on by itself while it is.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime")
}

async fn until_table_is_empty(provider: &MemoryProvider) {
    let give_up = Instant::now() + Duration::from_secs(10);
    while provider.table_len() != 0 {
        assert!(Instant::now() < give_up, "{} slots are left", provider.table_len());
        sleep(ms(20)).await;
    }
}

async fn expire_some(module: &LockingModule, name: &str) {
    for n in 0..50 {
        module.acquire(format!("{name}_{n}")).expire(ms(1)).await.expect("free");
    }
}

#[test]
fn a_runtime_that_is_not_driven_any_more_keeps_nothing() {
    let ((provider, module), left, driven) = (module(), runtime(), runtime());
    left.block_on(expire_some(&module, "early"));
    driven.block_on(async {
        sleep(Duration::from_secs(10)).await;
        expire_some(&module, "late").await;
        until_table_is_empty(&provider).await;
    });
    // It is driven once more: what was to happen there has happened elsewhere.
    left.block_on(async {
        sleep(Duration::from_secs(2)).await;
        expire_some(&module, "again").await;
    });
    driven.block_on(async {
        sleep(Duration::from_secs(10)).await;
        expire_some(&module, "last").await;
        until_table_is_empty(&provider).await;
    });
}

#[test]
fn a_runtime_that_is_gone_keeps_nothing() {
    let ((provider, module), gone, driven) = (module(), runtime(), runtime());
    gone.block_on(expire_some(&module, "early"));
    drop(gone);
    driven.block_on(async {
        expire_some(&module, "late").await;
        until_table_is_empty(&provider).await;
    });
}
