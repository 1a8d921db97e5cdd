use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::config::{ConfigurationError, ProviderOptions};
use crate::error::Result;
use crate::provider::LockingProvider;
use crate::provider_id::ProviderId;

/// The identifier of the memory provider, which the rules for the default fall back to.
pub(crate) const MEMORY: &str = "locking-memory";

/// The Cargo feature of the facade that links each provider of this project.
const FEATURES: &[(&str, &str)] =
    &[(MEMORY, "memory"), ("locking-postgres", "postgres"), ("locking-redis", "redis")];

/// What a factory gives: a provider that is ready, or why it can't be.
pub type ProviderFuture = Pin<Box<dyn Future<Output = Result<Arc<dyn LockingProvider>>> + Send>>;

/// Makes a provider from the id and the options of its entry.
pub type ProviderFactory = fn(ProviderId, ProviderOptions) -> ProviderFuture;

/// What a provider's crate submits, so that configurations can name it.
///
/// ```
/// # use std::sync::Arc;
/// # use locking_core::*;
/// # #[derive(Debug)] struct MyProvider(ProviderId);
/// # #[derive(serde::Deserialize)] struct MyOptions {}
/// # impl MyProvider { async fn connect(id: ProviderId, _: MyOptions) -> Result<Self> { Ok(Self(id)) } }
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
/// /// For platforms without code before `main`: give this to `LockingModuleBuilder::register`.
/// pub const REGISTRATION: ProviderRegistration =
///     ProviderRegistration::new("my-locking", |id, options| {
///         Box::pin(async move {
///             let options: MyOptions = options.parse()?;
///             let provider = MyProvider::connect(id, options).await?;
///             Ok(Arc::new(provider) as Arc<dyn LockingProvider>)
///         })
///     });
///
/// locking_core::inventory::submit! { REGISTRATION }
/// # fn main() {}
/// ```
#[derive(Clone, Copy)]
pub struct ProviderRegistration {
    identifier: &'static str,
    factory: ProviderFactory,
}

inventory::collect!(ProviderRegistration);

impl ProviderRegistration {
    /// A registration of this factory under this identifier.
    #[must_use]
    pub const fn new(identifier: &'static str, factory: ProviderFactory) -> Self {
        Self { identifier, factory }
    }

    /// What configurations `resolve` to.
    #[must_use]
    pub const fn identifier(&self) -> &'static str {
        self.identifier
    }

    pub(crate) fn build(&self, id: ProviderId, options: ProviderOptions) -> ProviderFuture {
        (self.factory)(id, options)
    }
}

impl fmt::Debug for ProviderRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProviderRegistration").field(&self.identifier).finish()
    }
}

/// The identifiers of the providers that are linked into this program, in byte order.
#[must_use]
pub fn linked_providers() -> Vec<&'static str> {
    let mut identifiers: Vec<_> =
        inventory::iter::<ProviderRegistration>().map(ProviderRegistration::identifier).collect();
    identifiers.sort_unstable();
    identifiers
}

/// The registrations that a module can choose from.
#[derive(Debug)]
pub(crate) struct Registry(BTreeMap<&'static str, ProviderRegistration>);

impl Registry {
    /// Those that are linked, and those given by hand, which win over a linked one of their name.
    pub(crate) fn new(
        by_hand: impl IntoIterator<Item = ProviderRegistration>,
    ) -> Result<Self, ConfigurationError> {
        let mut found = unique(inventory::iter::<ProviderRegistration>().copied())?;
        found.extend(unique(by_hand)?);
        Ok(Self(found))
    }

    pub(crate) fn find(
        &self,
        identifier: &str,
    ) -> Result<ProviderRegistration, ConfigurationError> {
        self.0.get(identifier).copied().ok_or_else(|| ConfigurationError::UnknownIdentifier {
            identifier: identifier.to_owned(),
            linked: self.0.keys().map(|&known| known.to_owned()).collect(),
            feature: feature_of(identifier).map(str::to_owned),
        })
    }
}

fn unique(
    registrations: impl IntoIterator<Item = ProviderRegistration>,
) -> Result<BTreeMap<&'static str, ProviderRegistration>, ConfigurationError> {
    let mut found = BTreeMap::new();
    for registration in registrations {
        if found.insert(registration.identifier, registration).is_some() {
            return Err(ConfigurationError::DuplicateRegistration {
                identifier: registration.identifier.to_owned(),
            });
        }
    }
    Ok(found)
}

fn feature_of(identifier: &str) -> Option<&'static str> {
    FEATURES.iter().find(|(known, _)| *known == identifier).map(|(_, feature)| *feature)
}
