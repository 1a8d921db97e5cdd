use super::{ConfigurationError, LockingConfig, ProviderConfig, ProviderOptions};
use crate::provider_id::ProviderId;
use crate::registry::{MEMORY, ProviderRegistration, Registry};

/// What to build, in order, and which of it is the default: a checked configuration.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) providers: Vec<PlannedProvider>,
    /// The place of the default in `providers`.
    pub(crate) default: usize,
    /// Several entries and none flagged: those that the default of memory leaves aside.
    pub(crate) ignored: Vec<ProviderId>,
}

#[derive(Debug)]
pub(crate) struct PlannedProvider {
    pub(crate) id: ProviderId,
    pub(crate) registration: ProviderRegistration,
    pub(crate) options: ProviderOptions,
    /// Where the options are in the configuration.
    pub(crate) path: String,
}

impl Plan {
    /// Checks a configuration against the providers that are registered.
    pub(crate) fn new(
        config: LockingConfig,
        registry: &Registry,
    ) -> Result<Self, ConfigurationError> {
        let flags: Vec<bool> = config.providers.iter().map(|entry| entry.is_default).collect();
        let mut providers = Vec::with_capacity(flags.len() + 1);
        for (at, entry) in config.providers.into_iter().enumerate() {
            providers.push(PlannedProvider::new(at, entry, registry)?);
        }
        check_ids(&providers)?;

        let flagged: Vec<usize> = (0..flags.len()).filter(|at| flags[*at]).collect();
        let mut ignored = Vec::new();
        let default = match (providers.len(), flagged.as_slice()) {
            (_, [one]) => *one,
            (_, [_, _, ..]) => {
                let ids = flagged.iter().map(|at| providers[*at].id.clone()).collect();
                return Err(ConfigurationError::SeveralDefaults { ids });
            }
            (1, []) => 0,
            (_, []) => {
                let memory = memory_place(&mut providers, registry)?;
                ignored = others(&providers, memory);
                memory
            }
        };
        Ok(Self { providers, default, ignored })
    }
}

impl PlannedProvider {
    fn new(
        at: usize,
        entry: ProviderConfig,
        registry: &Registry,
    ) -> Result<Self, ConfigurationError> {
        Ok(Self {
            registration: registry.find(&entry.resolve)?,
            id: ProviderId::new(entry.id.unwrap_or(entry.resolve))?,
            options: ProviderOptions::new(entry.options),
            path: format!("providers[{at}].options"),
        })
    }
}

/// Every id is there once, and none is what another entry resolves to.
fn check_ids(providers: &[PlannedProvider]) -> Result<(), ConfigurationError> {
    for (at, provider) in providers.iter().enumerate() {
        let id = &provider.id;
        if providers[..at].iter().any(|earlier| earlier.id == *id) {
            return Err(ConfigurationError::DuplicateId { id: id.clone() });
        }
        let resolve = provider.registration.identifier();
        let shadowed = providers.iter().any(|other| other.registration.identifier() == id.as_str());
        if shadowed && resolve != id.as_str() {
            return Err(ConfigurationError::IdIsIdentifier {
                id: id.clone(),
                resolve: resolve.to_owned(),
            });
        }
    }
    Ok(())
}

/// The memory provider that the rules fall back to: the entry of that id, else the only entry that
/// resolves to it, else one that nobody had to configure. Another provider can't have its id.
fn memory_place(
    providers: &mut Vec<PlannedProvider>,
    registry: &Registry,
) -> Result<usize, ConfigurationError> {
    if let Some(named) = providers.iter().position(|provider| provider.id.as_str() == MEMORY) {
        let (id, resolve) = (&providers[named].id, providers[named].registration.identifier());
        if resolve != MEMORY {
            return Err(ConfigurationError::IdIsIdentifier {
                id: id.clone(),
                resolve: resolve.to_owned(),
            });
        }
        return Ok(named);
    }
    let configured: Vec<usize> = (0..providers.len())
        .filter(|at| providers[*at].registration.identifier() == MEMORY)
        .collect();
    if let [only] = configured.as_slice() {
        return Ok(*only);
    }
    let memory = PlannedProvider::new(providers.len(), ProviderConfig::new(MEMORY), registry);
    providers.push(memory.map_err(|_| ConfigurationError::MemoryNotLinked)?);
    Ok(providers.len() - 1)
}

fn others(providers: &[PlannedProvider], except: usize) -> Vec<ProviderId> {
    let others = providers.iter().enumerate().filter(|(at, _)| *at != except);
    others.map(|(_, provider)| provider.id.clone()).collect()
}
