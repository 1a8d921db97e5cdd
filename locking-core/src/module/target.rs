use std::sync::Arc;

use crate::with_causes::WithCauses;
use crate::config::{ConfigurationError, Plan};
use crate::error::{Error, Result};
use crate::provider::LockingProvider;
use crate::provider_id::ProviderId;

/// A configured provider.
#[derive(Debug)]
pub(super) struct Target {
    provider: Arc<dyn LockingProvider>,
    /// What its entry resolves to.
    identifier: Option<&'static str>,
}

impl Target {
    pub(super) fn provider(&self) -> &Arc<dyn LockingProvider> {
        &self.provider
    }

    pub(super) fn id(&self) -> &ProviderId {
        self.provider.id()
    }
}

/// The configured providers, the default first. There is always one.
#[derive(Debug)]
pub(super) struct Targets(Vec<Target>);

impl Targets {
    pub(super) fn single(provider: Arc<dyn LockingProvider>) -> Self {
        Self(vec![Target { provider, identifier: None }])
    }

    /// Builds what was planned, in the order of the configuration.
    pub(super) async fn build(plan: Plan) -> Result<Self> {
        let mut targets = Vec::with_capacity(plan.providers.len());
        for planned in plan.providers {
            let identifier = planned.registration.identifier();
            match planned.registration.build(planned.id, planned.options).await {
                Ok(provider) => targets.push(Target { provider, identifier: Some(identifier) }),
                Err(error) => {
                    close(&targets).await;
                    return Err(match error {
                        Error::Configuration(mistake) => mistake.below(&planned.path).into(),
                        other => other,
                    });
                }
            }
        }
        targets.swap(0, plan.default);
        Ok(Self(targets))
    }

    pub(super) fn default(&self) -> &Target {
        &self.0[0]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Target> {
        self.0.iter()
    }

    pub(super) fn ids(&self) -> Vec<ProviderId> {
        self.iter().map(|target| target.id().clone()).collect()
    }

    /// The provider of this id, or the only one that resolves to this identifier. `lp_` before the
    /// name is what the original module put there.
    pub(super) fn find(&self, name: &str) -> Result<&Target> {
        let bare = name.strip_prefix(ProviderId::PREFIX).unwrap_or(name);
        if let Some(target) = self.iter().find(|target| target.id().as_str() == bare) {
            return Ok(target);
        }
        let mut resolving = self.iter().filter(|target| target.identifier == Some(bare));
        match (resolving.next(), resolving.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(Error::Configuration(ConfigurationError::UnknownProvider {
                name: name.to_owned(),
                ids: self.ids(),
            })),
        }
    }
}

/// Ends the connections of a start that failed half way.
async fn close(built: &[Target]) {
    for target in built {
        if let Err(error) = target.provider().close().await {
            let error = WithCauses(&error);
            tracing::debug!(provider = %target.id(), %error, "not closed in good order");
        }
    }
}
