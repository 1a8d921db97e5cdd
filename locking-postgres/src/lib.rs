//! The PostgreSQL provider of `locking`: locks from the database you already have.
//!
//! One statement to acquire, extend or release where nobody waits, several keys included; leases are durable rows;
//! waiting in a queue in the database, first come, first served, handed on in the very statement that releases;
//! fencing tokens that grow over crashes. PostgreSQL 14 and up. It registers itself as `locking-postgres`.
//!
//! ```no_run
//! use std::sync::Arc;
//! use locking_core::{LockingModule, ProviderId, Result};
//! use locking_postgres::{PostgresOptions, PostgresProvider};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
//! let mut options = PostgresOptions::new("postgres://localhost/shop")?;
//! options.migrate_at_start = true;
//! let provider = PostgresProvider::connect(ProviderId::new("locking-postgres")?, options).await?;
//! let module = LockingModule::with_provider(Arc::new(provider));
//! let sold = module.execute("prod_123", |_| async { 1 }).await?;
//! assert_eq!(sold, 1);
//! # Ok(()) }
//! ```
//!
//! Guards hang on their process's session with the server: they are free soon after it died, and lost where the
//! server restarts. What is kept by which deployment, also behind PgBouncer, is said in the project's guide on
//! guarantees; how tables are made and what a role needs, in that on operations.

mod acquiring;
mod connect;
mod connection;
mod database;
mod ending;
mod errand;
mod failure;
mod hosts;
mod lane;
mod lent;
mod listener;
mod migrate;
mod options;
mod outage;
mod pooler;
mod provider;
mod security;
mod sessions;
mod settings;
mod start;
mod statement;
mod store;
mod survey;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod verification;

use std::sync::Arc;
use std::time::Duration;

use locking_core::{Capabilities, Capability, LockingProvider, ProviderRegistration};

pub use crate::migrate::MIGRATIONS;
use crate::options::Written;
pub use crate::options::{PoolOptions, PostgresOptions, TakeoverOptions, TlsMode, TlsOptions};
pub use crate::provider::PostgresProvider;
use crate::settings::Settings;

/// The identifier under which this provider is registered.
pub const IDENTIFIER: &str = "locking-postgres";

/// What this provider promises beyond the baseline, with its default options. On a server that keeps what it
/// commits (`fsync` and `full_page_writes`, on by default), it also claims [`Capability::SurvivesRestart`].
///
/// Behind a pooler (`pgbouncer: true`) waiters ask rather than being told, and a dead process's guards end with
/// their leases: neither [`Capability::Notified`] nor [`Capability::Takeover`] is claimed there. The bound of a
/// takeover is that of `takeover.session_timeout`, and 1 s.
pub const CAPABILITIES: Capabilities =
    PLAIN.with(Capability::Notified).with_takeover(Duration::from_secs(11));

const PLAIN: Capabilities = Capabilities::none()
    .with(Capability::Fencing)
    .with(Capability::Fair)
    .with(Capability::SharedBetweenProcesses)
    .with(Capability::AtomicMultiKey)
    .with(Capability::Lists);

/// What is claimed with these options, on this server.
fn capabilities(options: &PostgresOptions, settings: &Settings) -> Capabilities {
    let plain = if settings.is_durable { PLAIN.with(Capability::SurvivesRestart) } else { PLAIN };
    if options.pgbouncer {
        return plain;
    }
    // The server has ended its session by then, and a waiter has looked.
    let bound = options.takeover.session_timeout + Duration::from_secs(1);
    plain.with(Capability::Notified).with_takeover(bound)
}

/// For platforms without code before `main`: give this to `LockingModuleBuilder::register`.
pub const REGISTRATION: ProviderRegistration =
    ProviderRegistration::new(IDENTIFIER, |id, options| {
        Box::pin(async move {
            let options = options.parse::<Written>()?.try_into()?;
            let provider = PostgresProvider::connect(id, options).await?;
            Ok(Arc::new(provider) as Arc<dyn LockingProvider>)
        })
    });

locking_core::inventory::submit! { REGISTRATION }
