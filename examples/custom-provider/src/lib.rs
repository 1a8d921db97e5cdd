//! A provider of `locking` in a SQLite file: locks between the processes of one machine, without a
//! server.
//!
//! Every operation is one transaction on the file. Fencing tokens grow also when the file was deleted;
//! leases outlive a crash of the machine. It registers itself as `locking-sqlite`.
//!
//! ```
//! use std::sync::Arc;
//! use locking_core::{LockingModule, ProviderId, Result};
//! use locking_sqlite::{SqliteOptions, SqliteProvider};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
//! # let folder = tempfile::tempdir().expect("a folder");
//! # let path = folder.path().join("locks.sqlite");
//! let options = SqliteOptions::new(path);
//! let provider = SqliteProvider::connect(ProviderId::new("locking-sqlite")?, options).await?;
//! let module = LockingModule::with_provider(Arc::new(provider));
//! let sold = module.execute("prod_123", |_| async { 1 }).await?;
//! assert_eq!(sold, 1);
//! # Ok(()) }
//! ```
//!
//! It runs on Linux and Android. The README says what it can't promise.

#[cfg(not(any(target_os = "linux", target_os = "android")))]
compile_error!(
    "locking-sqlite needs Linux or Android: processes share the clock and the id of a boot"
);

mod boot;
mod database;
mod error;
mod holds;
mod identity;
mod lock_file;
mod migrate;
mod options;
mod provider;

use std::sync::Arc;

use locking_core::{Capabilities, Capability, LockingProvider, ProviderRegistration};

pub use crate::options::SqliteOptions;
pub use crate::provider::SqliteProvider;

/// The identifier under which this provider is registered.
pub const IDENTIFIER: &str = "locking-sqlite";

/// What this provider promises beyond the baseline.
pub const CAPABILITIES: Capabilities = Capabilities::none()
    .with(Capability::Fencing)
    .with(Capability::SharedBetweenProcesses)
    .with(Capability::AtomicMultiKey)
    .with(Capability::SurvivesRestart)
    .with(Capability::Lists);

/// For platforms without code before `main`: give this to `LockingModuleBuilder::register`.
pub const REGISTRATION: ProviderRegistration =
    ProviderRegistration::new(IDENTIFIER, |id, options| {
        Box::pin(async move {
            let provider = SqliteProvider::connect(id, options.parse()?).await?;
            Ok(Arc::new(provider) as Arc<dyn LockingProvider>)
        })
    });

locking_core::inventory::submit! { REGISTRATION }
