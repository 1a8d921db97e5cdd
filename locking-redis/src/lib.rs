//! The Redis provider of `locking`: locks between processes and machines.
//!
//! One command to acquire, extend or release where nobody waits, several keys included; waiting in a
//! queue at the server, first come, first served, handed on in the very command that releases; fencing
//! tokens that grow over restarts. Redis 7.0 and up. It registers itself as `locking-redis`.
//!
//! ```no_run
//! use std::sync::Arc;
//! use locking_core::{LockingModule, ProviderId, Result};
//! use locking_redis::{RedisOptions, RedisProvider};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
//! let options = RedisOptions::new("redis://127.0.0.1:6379")?;
//! let provider = RedisProvider::connect(ProviderId::new("locking-redis")?, options).await?;
//! let module = LockingModule::with_provider(Arc::new(provider));
//! let sold = module.execute("prod_123", |_| async { 1 }).await?;
//! assert_eq!(sold, 1);
//! # Ok(()) }
//! ```
//!
//! What it can't promise is said in the project's guide on guarantees: a server without persistence
//! forgets its locks when it restarts, and a replica that takes over may not know the last ones. The
//! fencing token protects the resource then.

mod connection;
mod failure;
mod listener;
mod message;
mod operation;
mod options;
mod pipeline;
mod provider;
mod reply;
mod script;
mod server;
mod settings;
mod store;
mod survey;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
mod value;

use std::sync::Arc;

use locking_core::{Capabilities, Capability, LockingProvider, ProviderRegistration};

use crate::options::Written;
pub use crate::options::{
    ConnectionOptions, ReconnectionOptions, RedisOptions, Secret, TlsOptions,
};
pub use crate::provider::RedisProvider;

/// The identifier under which this provider is registered.
pub const IDENTIFIER: &str = "locking-redis";

/// What this provider promises beyond the baseline, on every server. On one that writes every command
/// to disk before it answers (`appendonly yes`, `appendfsync always`, `no-appendfsync-on-rewrite no`), it
/// also claims [`Capability::SurvivesRestart`].
pub const CAPABILITIES: Capabilities = Capabilities::none()
    .with(Capability::Fencing)
    .with(Capability::Notified)
    .with(Capability::Fair)
    .with(Capability::SharedBetweenProcesses)
    .with(Capability::AtomicMultiKey)
    .with(Capability::Lists);

/// For platforms without code before `main`: give this to `LockingModuleBuilder::register`.
pub const REGISTRATION: ProviderRegistration =
    ProviderRegistration::new(IDENTIFIER, |id, options| {
        Box::pin(async move {
            let options = options.parse::<Written>()?.try_into()?;
            let provider = RedisProvider::connect(id, options).await?;
            Ok(Arc::new(provider) as Arc<dyn LockingProvider>)
        })
    });

locking_core::inventory::submit! { REGISTRATION }
