//! Counts the bytes that held keys keep, and the allocations of a call; prints them as JSON.

use std::alloc::System;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use locking_core::LockingModule;
use locking_memory::MemoryProvider;
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const KEYS: usize = 100_000;
const PAIRS: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    // No second thread allocates meanwhile.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let report = json!({
            "keys": KEYS,
            "bytes_per_key": bytes_per_key(false).await?,
            "bytes_per_key_with_owner_and_expiry": bytes_per_key(true).await?,
            "allocations_per_acquire_and_release": allocations_per_pair(false).await?,
            "allocations_per_acquire_and_release_with_owner_and_expiry":
                allocations_per_pair(true).await?,
            "allocations_per_execute": allocations_per_execute().await?,
        });
        println!("{report}");
        Ok(())
    })
}

/// What 100,000 held keys of 16 bytes keep. The leases are dropped: they belong to the caller.
async fn bytes_per_key(owned: bool) -> locking_core::Result<f64> {
    let region = Region::new(ALLOCATOR);
    let module = LockingModule::with_provider(Arc::new(MemoryProvider::new()));
    for number in 0..KEYS {
        let key = format!("prod_{number:011}");
        if owned {
            let owner = format!("user_{:011}", number % 1000);
            module.acquire(key).owner(owner).expire(Duration::from_secs(3600)).await?;
        } else {
            module.acquire(key).await?;
        }
    }
    let change = region.change();
    drop(module);
    // What grew or shrank in place is in these two as well.
    let allocated = i64::try_from(change.bytes_allocated).unwrap_or(i64::MAX);
    let freed = i64::try_from(change.bytes_deallocated).unwrap_or(i64::MAX);
    Ok((allocated - freed) as f64 / KEYS as f64)
}

async fn allocations_per_pair(owned: bool) -> locking_core::Result<f64> {
    let module = LockingModule::with_provider(Arc::new(MemoryProvider::new()));
    let region = Region::new(ALLOCATOR);
    for _ in 0..PAIRS {
        if owned {
            let acquired = module.acquire("prod_00000000123").owner("user_123");
            acquired.expire(Duration::from_secs(60)).await?;
            module.release("prod_00000000123").owner("user_123").await?;
        } else {
            module.acquire("prod_00000000123").await?;
            module.release("prod_00000000123").await?;
        }
    }
    Ok(per_call(&region))
}

async fn allocations_per_execute() -> locking_core::Result<f64> {
    let module = LockingModule::with_provider(Arc::new(MemoryProvider::new()));
    let region = Region::new(ALLOCATOR);
    for _ in 0..PAIRS {
        module.execute("prod_00000000123", |_| async {}).await?;
    }
    Ok(per_call(&region))
}

fn per_call(region: &Region<'_, System>) -> f64 {
    let change = region.change();
    (change.allocations + change.reallocations) as f64 / PAIRS as f64
}
