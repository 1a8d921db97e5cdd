//! The contract of `locking`, and what all providers share.
//!
//! - Applications call a [`LockingModule`]: `execute`, `lock`, `acquire`, `release`, `release_all`.
//!   They usually depend on the facade `locking`, which re-exports this crate and links providers.
//!   In a [`workflow`], steps take and give back the locks.
//! - A provider implements [`LockingProvider`] for its store, submits a [`ProviderRegistration`],
//!   and proves itself with the suite in `locking-testkit`.
//!
//! This crate knows no driver.

mod background;
mod backoff;
mod capabilities;
mod closing;
pub mod config;
mod error;
mod grant;
mod guard;
mod info;
mod invalid;
mod key;
mod key_set;
mod latch;
mod late;
mod lease;
pub mod line;
mod loss;
pub mod module;
mod moment;
mod one_or_many;
mod owner;
mod polling;
mod provider;
mod provider_id;
mod registry;
mod request;
mod session;
mod time;
mod token;
mod with_causes;
pub mod workflow;

pub use async_trait::async_trait;
pub use inventory;

pub use crate::backoff::Backoff;
pub use crate::capabilities::{Capabilities, Capability};
pub use crate::config::{ConfigurationError, LockingConfig, ProviderConfig, ProviderOptions};
pub use crate::error::{BoxError, Error, Result};
pub use crate::grant::Grant;
pub use crate::guard::{LockContext, LockGuard};
pub use crate::info::LockInfo;
pub use crate::invalid::{InvalidInput, TextFault};
pub use crate::key::LockKey;
pub use crate::key_set::{IntoKeys, KeySet};
pub use crate::lease::{Lease, LeasedKey};
pub use crate::loss::{LossReason, LossSignal};
pub use crate::module::{LockingModule, LockingModuleBuilder};
pub use crate::moment::Moment;
pub use crate::owner::{IntoOwner, OwnerId};
pub use crate::polling::{TryAcquire, acquire_by_polling};
pub use crate::provider::{Begun, LockingProvider};
pub use crate::provider_id::ProviderId;
pub use crate::registry::{
    ProviderFactory, ProviderFuture, ProviderRegistration, linked_providers,
};
pub use crate::request::{AcquireRequest, Hold, HoldKind, ReleaseScope};
pub use crate::session::Session;
pub use crate::time::{Expiry, Wait, WaitUntil};
pub use crate::token::FencingToken;
pub use crate::with_causes::WithCauses;
