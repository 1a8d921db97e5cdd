//! The in-process provider of `locking`: everything the contract promises, within one process.
//!
//! First come, first served; expiry driven by timers; tokens that keep growing over restarts of the
//! process. For development, tests, and services that run as one process. It registers itself as
//! `locking-memory`.
//!
//! ```
//! use std::sync::Arc;
//! use locking_core::{LockingModule, Result};
//! use locking_memory::MemoryProvider;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
//! let module = LockingModule::with_provider(Arc::new(MemoryProvider::new()));
//! let sold = module.execute("prod_123", |_| async { 1 }).await?;
//! assert_eq!(sold, 1);
//! # Ok(()) }
//! ```

mod claim;
mod client;
mod config;
mod granted;
mod holder;
mod provider;
mod queue;
mod release;
mod reminder;
mod seat;
mod serve;
mod shard;
mod sharing;
mod store;
mod survey;
mod sweep;
#[cfg(test)]
mod tests;
mod wait;
mod waiter;

use std::sync::Arc;

use locking_core::{Capabilities, Capability, LockingProvider, ProviderRegistration};

pub use crate::config::MemoryOptions;
pub use crate::provider::MemoryProvider;

/// The identifier under which this provider is registered.
pub const IDENTIFIER: &str = "locking-memory";

/// What this provider promises beyond the baseline.
pub const CAPABILITIES: Capabilities = Capabilities::none()
    .with(Capability::Fencing)
    .with(Capability::Notified)
    .with(Capability::Fair)
    .with(Capability::AtomicMultiKey)
    .with(Capability::Lists);

/// For platforms without code before `main`: give this to `LockingModuleBuilder::register`.
pub const REGISTRATION: ProviderRegistration =
    ProviderRegistration::new(IDENTIFIER, |id, options| {
        Box::pin(async move {
            let provider = MemoryProvider::configured(id, &options.parse()?);
            Ok(Arc::new(provider) as Arc<dyn LockingProvider>)
        })
    });

locking_core::inventory::submit! { REGISTRATION }
