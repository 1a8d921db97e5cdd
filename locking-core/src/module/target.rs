use std::sync::Arc;

use crate::config::{ConfigurationError, Origin, Plan, PlannedProvider};
use crate::error::{Error, Result};
use crate::key_set::KeySet;
use crate::provider::LockingProvider;
use crate::provider_id::ProviderId;
use crate::with_causes::WithCauses;

/// A configured provider.
#[derive(Debug)]
pub(super) struct Target {
    provider: Arc<dyn LockingProvider>,
    /// What its entry resolves to. `None`: the application made it.
    identifier: Option<&'static str>,
}

impl Target {
    async fn of(planned: PlannedProvider) -> Result<Self> {
        let (registration, options, path) = match planned.origin {
            Origin::Entry { registration, options, path } => (registration, options, path),
            Origin::ReadyMade(made) => return Ok(Self::ready_made(made.provider)),
        };
        match registration.build(planned.id, options).await {
            Ok(provider) => Ok(Self { provider, identifier: Some(registration.identifier()) }),
            Err(Error::Configuration(mistake)) => Err(mistake.below(&path).into()),
            Err(other) => Err(other),
        }
    }

    fn ready_made(provider: Arc<dyn LockingProvider>) -> Self {
        Self { provider, identifier: None }
    }

    pub(super) fn provider(&self) -> &Arc<dyn LockingProvider> {
        &self.provider
    }

    /// The keys of a call, for its error: `None` where the provider names them itself.
    pub(super) fn keys_to_name(&self, keys: &KeySet) -> Option<KeySet> {
        (!self.provider.ends_waits()).then(|| keys.clone())
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
        Self(vec![Target::ready_made(provider)])
    }

    /// Builds what was planned, in that order.
    pub(super) async fn build(plan: Plan) -> Result<Self> {
        let mut targets = Vec::with_capacity(plan.providers.len());
        for planned in plan.providers {
            match Target::of(planned).await {
                Ok(target) => targets.push(target),
                Err(error) => {
                    close(&targets).await;
                    return Err(error);
                }
            }
        }
        targets[..=plan.default].rotate_right(1);
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

/// Ends the connections of a start that failed half way: those that it made. What the application made, it
/// may try again with.
async fn close(targets: &[Target]) {
    for target in targets.iter().filter(|target| target.identifier.is_some()) {
        if let Err(error) = target.provider().close().await {
            let error = WithCauses::of(&error);
            tracing::debug!(provider = %target.id(), %error, "not closed in good order");
        }
    }
}
