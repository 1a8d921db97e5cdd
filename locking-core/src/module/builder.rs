use super::LockingModule;
use super::target::Targets;
use crate::config::{LockingConfig, Plan};
use crate::error::Result;
use crate::registry::{ProviderRegistration, Registry};

/// Starts a [`LockingModule`] with more than its configuration says.
#[derive(Clone, Debug)]
#[must_use = "nothing is built before `build`"]
pub struct LockingModuleBuilder {
    config: LockingConfig,
    by_hand: Vec<ProviderRegistration>,
}

impl LockingModuleBuilder {
    pub(super) fn new(config: LockingConfig) -> Self {
        Self { config, by_hand: Vec::new() }
    }

    /// Registers a provider by hand: on platforms without code before `main`, and in tests. It wins
    /// over a linked one of the same identifier.
    pub fn register(mut self, registration: ProviderRegistration) -> Self {
        self.by_hand.push(registration);
        self
    }

    /// Checks the configuration, builds its providers, and logs the default that was chosen.
    ///
    /// # Errors
    ///
    /// - [`Error::Configuration`](crate::Error::Configuration) for every mistake in it.
    /// - [`Error::Unavailable`](crate::Error::Unavailable) or
    ///   [`Error::UnknownOutcome`](crate::Error::UnknownOutcome) if a provider needs its store to start,
    ///   and it can't be reached or doesn't answer.
    ///
    /// # Cancellation safety
    ///
    /// Dropped at any await point, the connections that were made are ended in the background.
    pub async fn build(self) -> Result<LockingModule> {
        let plan = Plan::new(self.config, &Registry::new(self.by_hand)?)?;
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
