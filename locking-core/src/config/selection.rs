use super::{ConfigurationError, LockingConfig, ProviderConfig, ProviderOptions, ReadyMade};
use crate::provider_id::ProviderId;
use crate::registry::{MEMORY, ProviderRegistration, Registry};

/// What a module is made of, in order, and which of it is the default: a checked configuration.
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
    is_default: bool,
    pub(crate) origin: Origin,
}

/// Where a provider comes from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// An entry, from which it is built.
    Entry {
        registration: ProviderRegistration,
        options: ProviderOptions,
        /// Where the options are in the configuration.
        path: String,
    },
    /// The application, which made it.
    ReadyMade(ReadyMade),
}

impl Plan {
    /// Checks a configuration, and what the application made, against the providers that are registered.
    pub(crate) fn new(
        config: LockingConfig,
        ready_made: Vec<ReadyMade>,
        registry: &Registry,
    ) -> Result<Self, ConfigurationError> {
        let mut providers = Vec::with_capacity(config.providers.len() + ready_made.len() + 1);
        for (at, entry) in config.providers.into_iter().enumerate() {
            providers.push(PlannedProvider::new(at, entry, registry)?);
        }
        providers.extend(ready_made.into_iter().map(PlannedProvider::from));
        check_ids(&providers)?;

        let flagged: Vec<usize> =
            (0..providers.len()).filter(|at| providers[*at].is_default).collect();
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
        let origin = Origin::Entry {
            registration: registry.find(&entry.resolve)?,
            options: ProviderOptions::new(entry.options),
            path: format!("providers[{at}].options"),
        };
        let id = ProviderId::new(entry.id.unwrap_or(entry.resolve))?;
        Ok(Self { id, is_default: entry.is_default, origin })
    }

    /// What its entry resolves to.
    fn identifier(&self) -> Option<&'static str> {
        match &self.origin {
            Origin::Entry { registration, .. } => Some(registration.identifier()),
            Origin::ReadyMade(_) => None,
        }
    }

    fn id_is_identifier(&self) -> ConfigurationError {
        ConfigurationError::IdIsIdentifier {
            id: self.id.clone(),
            resolve: self.identifier().map(str::to_owned),
        }
    }
}

impl From<ReadyMade> for PlannedProvider {
    fn from(made: ReadyMade) -> Self {
        let (id, is_default) = (made.provider.id().clone(), made.is_default);
        Self { id, is_default, origin: Origin::ReadyMade(made) }
    }
}

/// Every id is there once, and none is what another entry resolves to.
fn check_ids(providers: &[PlannedProvider]) -> Result<(), ConfigurationError> {
    for (at, provider) in providers.iter().enumerate() {
        let id = &provider.id;
        if providers[..at].iter().any(|earlier| earlier.id == *id) {
            return Err(ConfigurationError::DuplicateId { id: id.clone() });
        }
        let identifier = Some(id.as_str());
        let shadowed = providers.iter().any(|other| other.identifier() == identifier);
        if shadowed && provider.identifier() != identifier {
            return Err(provider.id_is_identifier());
        }
    }
    Ok(())
}

/// The memory provider that the rules fall back to: the entry of that id, else the only entry that
/// resolves to it, else one that nobody had to configure. An entry that resolves to another provider can't
/// have its id; what the application made is known by its id alone, and is believed.
fn memory_place(
    providers: &mut Vec<PlannedProvider>,
    registry: &Registry,
) -> Result<usize, ConfigurationError> {
    if let Some(named) = providers.iter().position(|provider| provider.id.as_str() == MEMORY) {
        return match providers[named].identifier() {
            Some(MEMORY) | None => Ok(named),
            Some(_) => Err(providers[named].id_is_identifier()),
        };
    }
    let configured: Vec<usize> =
        (0..providers.len()).filter(|at| providers[*at].identifier() == Some(MEMORY)).collect();
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
