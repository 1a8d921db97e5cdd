//! Locks on names: run a job alone, within one process or across many.
//!
//! A lock is asked of a [`LockingModule`], which hands the work to a *provider*: what stores the
//! locks. The program's code stays the same when the provider changes; a configuration picks it.
//!
//! ```
//! use std::time::Duration;
//! use locking::{LockingConfig, LockingModule, Result};
//!
//! # #[cfg(feature = "memory")]
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<()> {
//!     let module = LockingModule::new(LockingConfig::new()).await?;
//!
//!     // Runs the job while nobody else holds the key, and gives the key back however it ends.
//!     let sold = module.execute("prod_123", |_lock| async { 1 }).await?;
//!     assert_eq!(sold, 1);
//!
//!     // Or by hand: a lease that ends after a minute at the latest.
//!     let minute = Duration::from_secs(60);
//!     module.acquire("prod_123").owner("user_123").expire(minute).await?;
//!     assert!(module.release("prod_123").owner("user_123").await?);
//!     Ok(())
//! }
//! # #[cfg(not(feature = "memory"))]
//! # fn main() {}
//! ```
//!
//! | call | what it gives |
//! |---|---|
//! | [`execute`](LockingModule::execute) | runs a job while holding keys |
//! | [`lock`](LockingModule::lock) | a guard: kept alive in the background, given back when dropped |
//! | [`acquire`](LockingModule::acquire) | a lease: plain data, ends by its release or its expiry |
//! | [`release`](LockingModule::release), [`release_lease`](LockingModule::release_lease), [`release_all`](LockingModule::release_all) | keys given back by name, as a lease, all at once |
//! | [`extend`](LockingModule::extend) | a lease's remaining time, set anew |
//! | [`inspect`](LockingModule::inspect), [`list`](LockingModule::list) | who holds what |
//! | [`close`](LockingModule::close) | the end, with time for what runs |
//!
//! Steps that take and give back locks in a workflow, with their compensation, are in [`workflow`].
//!
//! # Features
//!
//! A feature links a provider, so that a configuration can name it. It never changes which one runs.
//!
//! | feature | provider | default |
//! |---|---|---|
//! | `memory` | `locking-memory`: within one process | yes |
//! | `postgres` | `locking-postgres`: between processes and machines, through a PostgreSQL database | no |
//! | `redis` | `locking-redis`: between processes and machines, through a Redis server | no |
//!
//! A provider of one's own needs no feature: see [`LockingProvider`].

pub use locking_core::*;

/// The providers that are linked in, by Cargo feature.
///
/// Naming a provider's crate here is what links its registration into the program.
pub mod providers {
    #[cfg(feature = "memory")]
    pub use locking_memory as memory;
    #[cfg(feature = "postgres")]
    pub use locking_postgres as postgres;
    #[cfg(feature = "redis")]
    pub use locking_redis as redis;
}

/// Runs the code blocks of the guides; exists in no build. Those that need servers, or their drivers, run in
/// `examples/guides.rs`.
#[cfg(all(doctest, feature = "memory"))]
mod guides {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../README.md")]
    struct FacadeReadme;
    #[doc = include_str!("../../locking-core/README.md")]
    struct CoreReadme;
    #[doc = include_str!("../../locking-memory/README.md")]
    struct MemoryReadme;
    #[cfg(feature = "postgres")]
    #[doc = include_str!("../../locking-postgres/README.md")]
    struct PostgresReadme;
    #[cfg(feature = "redis")]
    #[doc = include_str!("../../locking-redis/README.md")]
    struct RedisReadme;
    #[doc = include_str!("../../locking-testkit/README.md")]
    struct TestkitReadme;
    #[doc = include_str!("../../docs/getting-started.md")]
    struct GettingStarted;
    #[doc = include_str!("../../docs/choosing-a-provider.md")]
    struct ChoosingAProvider;
    #[doc = include_str!("../../docs/guarantees.md")]
    struct Guarantees;
    #[doc = include_str!("../../docs/operations.md")]
    struct Operations;
    #[doc = include_str!("../../docs/coming-from-the-original.md")]
    struct ComingFromTheOriginal;
    #[doc = include_str!("../../docs/workflows.md")]
    struct Workflows;
    #[doc = include_str!("../../docs/writing-a-provider.md")]
    struct WritingAProvider;
}
