use crate::provider_id::ProviderId;

/// A mistake in the configuration, found at start, or a call that names a provider which isn't
/// configured.
///
/// A provider that was given to the [builder](crate::LockingModuleBuilder::provider) counts as an entry here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// More than one entry has `is_default: true`, or was given as the default.
    #[error("several providers are flagged as default: {}; flag one of them", list(.ids))]
    #[non_exhaustive]
    SeveralDefaults {
        /// The entries that are flagged.
        ids: Vec<ProviderId>,
    },
    /// Two entries have the same id.
    #[error("two providers have the id `{id}`; give one of them another `id`")]
    #[non_exhaustive]
    DuplicateId {
        /// The id.
        id: ProviderId,
    },
    /// An id is empty, or starts with the prefix that calls may put before an id.
    #[error("`{id}` can't be a provider's id: it must not be empty or start with `lp_`")]
    #[non_exhaustive]
    ReservedId {
        /// The id.
        id: String,
    },
    /// An id equals the identifier of another entry, so that a call couldn't say which it means.
    #[error(
        "the provider with the id `{id}` {}, but `{id}` is what another entry resolves to; choose another `id`",
        origin(.resolve.as_deref())
    )]
    #[non_exhaustive]
    IdIsIdentifier {
        /// The id.
        id: ProviderId,
        /// What the entry with that id resolves to; `None` for a provider that the application made.
        resolve: Option<String>,
    },
    /// The configuration asks for the memory provider, and it isn't linked into this program.
    #[error(
        "the configuration leaves the choice to the memory provider `locking-memory`, which is not linked: enable the feature `memory` of `locking`, or flag one provider as default"
    )]
    MemoryNotLinked,
    /// No provider with this identifier is linked into this program.
    #[error("no provider `{identifier}` is linked; linked are: {}{}", list(.linked), feature_hint(.feature.as_deref()))]
    #[non_exhaustive]
    UnknownIdentifier {
        /// What the entry resolves to.
        identifier: String,
        /// The identifiers that would do.
        linked: Vec<String>,
        /// The Cargo feature of `locking` that brings it, if it is one of ours.
        feature: Option<String>,
    },
    /// Two linked crates register the same identifier.
    #[error("the provider `{identifier}` is registered by two crates; link one of them")]
    #[non_exhaustive]
    DuplicateRegistration {
        /// The identifier.
        identifier: String,
    },
    /// An option is unknown, missing, or has a value that won't do.
    #[error("invalid option `{path}`: {problem}")]
    #[non_exhaustive]
    Option {
        /// Where it is, from the top of the configuration; for options that don't come from one, from
        /// their own top.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// An option refers to an environment variable that isn't set, or isn't UTF-8.
    #[error(
        "the option `{path}` refers to the environment variable `{variable}`, which is not set; set it, or give a default: `${{{variable}:-…}}`"
    )]
    #[non_exhaustive]
    MissingVariable {
        /// Where the reference is.
        path: String,
        /// The variable.
        variable: String,
    },
    /// A `${` in an option has no end, or no name in it.
    #[error(
        "the option `{path}` has a `${{` that is no reference to a variable; write `${{NAME}}`, `${{NAME:-default}}`, or `$${{` for the characters themselves"
    )]
    #[non_exhaustive]
    MalformedReference {
        /// Where it is.
        path: String,
    },
    /// What a provider stands on isn't as it has to be: tables that are missing, rights that weren't
    /// granted.
    #[error("the store of locking provider `{provider}` isn't ready: {problem}")]
    #[non_exhaustive]
    Store {
        /// The provider.
        provider: ProviderId,
        /// What is wrong, and what to do about it.
        problem: String,
    },
    /// A call named a provider that is neither an id nor the identifier of just one entry.
    #[error("no provider `{name}` is configured; configured are: {}", list(.ids))]
    #[non_exhaustive]
    UnknownProvider {
        /// What the call said.
        name: String,
        /// The ids that would do.
        ids: Vec<ProviderId>,
    },
}

impl ConfigurationError {
    /// See [`Self::Option`]: what a provider says of an option whose value won't do. The path is that
    /// within its options, say `tls.ca`; where they come from a configuration, the module completes it.
    #[must_use]
    pub fn option(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Option { path: path.into(), problem: problem.into() }
    }

    /// See [`Self::Store`].
    #[must_use]
    pub fn store(provider: &ProviderId, problem: impl Into<String>) -> Self {
        Self::Store { provider: provider.clone(), problem: problem.into() }
    }

    /// The same, told from the top of the configuration: the options stand at `options` in it.
    pub(crate) fn below(mut self, options: &str) -> Self {
        if let Self::Option { path, .. }
        | Self::MissingVariable { path, .. }
        | Self::MalformedReference { path } = &mut self
        {
            *path = if path.is_empty() { options.to_owned() } else { format!("{options}.{path}") };
        }
        self
    }
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items.iter().map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ")
}

fn origin(resolve: Option<&str>) -> String {
    resolve.map_or_else(
        || "was made by the application".to_owned(),
        |resolve| format!("resolves to `{resolve}`"),
    )
}

fn feature_hint(feature: Option<&str>) -> String {
    feature.map_or_else(String::new, |feature| {
        format!("; enable the feature `{feature}` of `locking` to link it")
    })
}
