use std::sync::Arc;

use super::LockingModule;
use super::target::Targets;
use crate::config::{LockingConfig, Plan, ReadyMade};
use crate::error::Result;
use crate::provider::LockingProvider;
use crate::registry::{ProviderRegistration, Registry};

/// Starts a [`LockingModule`] with more than its configuration says.
#[derive(Clone, Debug)]
#[must_use = "nothing is built before `build`"]
pub struct LockingModuleBuilder {
    config: LockingConfig,
    by_hand: Vec<ProviderRegistration>,
    ready_made: Vec<ReadyMade>,
}

impl LockingModuleBuilder {
    pub(super) fn new(config: LockingConfig) -> Self {
        Self { config, by_hand: Vec::new(), ready_made: Vec::new() }
    }

    /// Registers a provider by hand: on platforms without code before `main`, and in tests. It wins
    /// over a linked one of the same identifier.
    pub fn register(mut self, registration: ProviderRegistration) -> Self {
        self.by_hand.push(registration);
        self
    }

    /// Adds a provider that the application made: over a pool that it has, or with what no configuration can
    /// say. It stands behind the entries of the configuration, and those added before.
    ///
    /// Calls name it by its own [`id`](LockingProvider::id), with or without `lp_`, and by nothing else. For
    /// the [default](LockingConfig), it counts as an entry without a flag; where the rules fall back to memory,
    /// one with the id `locking-memory` is that.
    ///
    /// The module treats it like the others; [`close`](LockingModule::close) closes it, also for whoever kept a
    /// clone of the `Arc`. A [`build`](Self::build) that fails doesn't.
    ///
    /// ```
    /// # use locking_core::*;
    /// # #[derive(Debug)] struct MyProvider(ProviderId);
    /// # #[async_trait] impl LockingProvider for MyProvider {
    /// #     fn id(&self) -> &ProviderId { &self.0 }
    /// #     fn capabilities(&self) -> Capabilities { Capabilities::none() }
    /// #     async fn acquire(&self, _: AcquireRequest) -> Result<Grant> { Err(Error::closed(&self.0)) }
    /// #     async fn extend(&self, _: &Lease, _: Expiry) -> Result<()> { Ok(()) }
    /// #     async fn release(&self, _: KeySet, _: Option<OwnerId>) -> Result<bool> { Ok(false) }
    /// #     async fn release_lease(&self, _: &Lease) -> Result<()> { Ok(()) }
    /// #     async fn release_all(&self, _: ReleaseScope) -> Result<u64> { Ok(0) }
    /// #     async fn close(&self) -> Result<()> { Ok(()) }
    /// # }
    /// # #[derive(Clone)] struct Client;
    /// # impl MyProvider { fn over(id: &str, _: Client) -> Result<Self> { Ok(Self(ProviderId::new(id)?)) } }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let (client, config) = (Client, LockingConfig::new());
    /// use std::sync::Arc;
    ///
    /// let module = LockingModule::builder(config)
    ///     .provider(Arc::new(MyProvider::over("reports", client.clone())?))
    ///     .default_provider(Arc::new(MyProvider::over("carts", client)?))
    ///     .build()
    ///     .await?;
    /// assert_eq!(module.providers()[0].as_str(), "carts");
    /// assert!(module.capabilities_of("lp_reports").is_ok());
    /// # Ok(()) }
    /// ```
    pub fn provider(mut self, provider: Arc<dyn LockingProvider>) -> Self {
        self.ready_made.push(ReadyMade { provider, is_default: false });
        self
    }

    /// The same with the flag `is_default`: calls that name no provider use it. No other one may have the flag.
    pub fn default_provider(mut self, provider: Arc<dyn LockingProvider>) -> Self {
        self.ready_made.push(ReadyMade { provider, is_default: true });
        self
    }

    /// Checks the configuration, builds its providers, and logs the default that was chosen.
    ///
    /// # Errors
    ///
    /// - [`Error::Configuration`](crate::Error::Configuration) for every mistake in it, or in what was added to it:
    ///   an id that is there twice or is what an entry resolves to, a second default.
    /// - [`Error::Unavailable`](crate::Error::Unavailable) or
    ///   [`Error::UnknownOutcome`](crate::Error::UnknownOutcome) if a provider needs its store to start,
    ///   and it can't be reached or doesn't answer.
    ///
    /// Where it fails, what it built is closed. Providers that were [added](Self::provider) stay open, for the
    /// application to try again with, or to close.
    ///
    /// # Cancellation safety
    ///
    /// Dropped at any await point, the connections that it made are ended in the background; providers that were
    /// added stay open.
    pub async fn build(self) -> Result<LockingModule> {
        let plan = Plan::new(self.config, self.ready_made, &Registry::new(self.by_hand)?)?;
        let ignored = plan.ignored.clone();
        let targets = Targets::build(plan).await?;
        let default = targets.default().id();
        if ignored.is_empty() {
            tracing::info!(%default, "default locking provider");
        } else {
            tracing::warn!(
                %default, ?ignored,
                "several locking providers and none has `is_default`: memory is the default, the others are used only by name"
            );
        }
        Ok(LockingModule::over(targets))
    }
}
