//! Providers that are registered by hand, as a platform without code before `main` does it.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use locking_core::{
    ConfigurationError, Error, LockingConfig, LockingModule, LockingModuleBuilder, LockingProvider,
    ProviderConfig, ProviderFuture, ProviderId, ProviderOptions, ProviderRegistration,
};
use serde::Deserialize;

use super::FakeStore;

pub(crate) const MEMORY: ProviderRegistration = ProviderRegistration::new("locking-memory", build);
pub(crate) const REDIS: ProviderRegistration = ProviderRegistration::new("locking-redis", build);

/// What the registered providers can be configured with.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Options {
    pub(crate) url: Option<String>,
    pub(crate) pool: Option<u32>,
    pub(crate) names: Vec<String>,
    pub(crate) tls: Tls,
    pub(crate) wait_locking_timeout: Option<Seconds>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    pub(crate) enabled: bool,
    pub(crate) ca: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Seconds(#[serde(with = "locking_core::config::duration")] pub(crate) Duration);

thread_local! {
    static BUILT: RefCell<Vec<(ProviderId, Options)>> = const { RefCell::new(Vec::new()) };
}

/// What was built on this thread since it was asked last: ids, and options as they were read.
pub(crate) fn built() -> Vec<(ProviderId, Options)> {
    BUILT.take()
}

fn build(id: ProviderId, options: ProviderOptions) -> ProviderFuture {
    Box::pin(async move {
        let options: Options = options.parse()?;
        BUILT.with_borrow_mut(|built| built.push((id.clone(), options)));
        Ok(Arc::new(FakeStore::with_id(id)) as Arc<dyn LockingProvider>)
    })
}

/// A module with both registrations over these entries.
pub(crate) async fn start(
    entries: impl IntoIterator<Item = ProviderConfig>,
) -> Result<LockingModule, Error> {
    start_with([MEMORY, REDIS], entries).await
}

pub(crate) async fn start_with(
    registrations: impl IntoIterator<Item = ProviderRegistration>,
    entries: impl IntoIterator<Item = ProviderConfig>,
) -> Result<LockingModule, Error> {
    builder(registrations, entries).build().await
}

pub(crate) fn builder(
    registrations: impl IntoIterator<Item = ProviderRegistration>,
    entries: impl IntoIterator<Item = ProviderConfig>,
) -> LockingModuleBuilder {
    let config = entries.into_iter().fold(LockingConfig::new(), LockingConfig::with_provider);
    let builder = LockingModule::builder(config);
    registrations.into_iter().fold(builder, LockingModuleBuilder::register)
}

/// The mistake that a configuration is refused for.
pub(crate) fn mistake<T>(answer: Result<T, Error>) -> ConfigurationError {
    match answer {
        Err(Error::Configuration(mistake)) => mistake,
        Err(other) => panic!("expected a configuration error, not {other:?}"),
        Ok(_) => panic!("expected a configuration error"),
    }
}

/// The ids of the configured providers, the default first.
pub(crate) fn ids(module: &LockingModule) -> Vec<String> {
    module.providers().iter().map(ToString::to_string).collect()
}
