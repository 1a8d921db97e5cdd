//! Which providers there are, and which is the default: as data that comes from a file.

pub mod duration;
mod environment;
mod error;
pub mod or_text;
mod ready_made;
mod selection;

use std::cmp::Reverse;
use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use self::error::ConfigurationError;
pub(crate) use self::ready_made::ReadyMade;
pub(crate) use self::selection::{Origin, Plan, PlannedProvider};

/// The configuration of a [`LockingModule`](crate::LockingModule); deserialises from TOML, JSON
/// and YAML.
///
/// The entries decide which provider a call uses that names none:
///
/// | configured entries | default |
/// |---|---|
/// | none | memory |
/// | one | that one |
/// | several, none with `is_default` | memory; a warning names those that are ignored |
/// | several, one with `is_default` | that one |
///
/// A provider that the application makes itself, and gives to the
/// [builder](crate::LockingModuleBuilder::provider), counts as an entry.
///
/// ```
/// let config: locking_core::LockingConfig = toml::from_str(r#"
///     [[providers]]
///     resolve = "locking-memory"
///     id = "carts"
///     is_default = true
///     options = { wait_locking_timeout = "2s" }
/// "#)?;
/// assert_eq!(config.providers[0].id.as_deref(), Some("carts"));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LockingConfig {
    /// The providers. Default: none.
    #[serde(default)]
    pub providers: Vec<ProviderConfig>,
}

impl LockingConfig {
    /// The configuration without entries: memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one entry more.
    #[must_use]
    pub fn with_provider(mut self, provider: ProviderConfig) -> Self {
        self.providers.push(provider);
        self
    }
}

/// One entry of a [`LockingConfig`].
///
/// Its `Debug` shows the names of the options, never their values: there are passwords in them.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ProviderConfig {
    /// The identifier under which the provider's crate registers it, such as `locking-memory`.
    pub resolve: String,
    /// The name by which calls pick this entry. Default: `resolve`.
    #[serde(default)]
    pub id: Option<String>,
    /// Whether calls that name no provider use this one. Default: `false`.
    #[serde(default)]
    pub is_default: bool,
    /// The provider's own options. In every text, `${NAME}` is filled with that environment
    /// variable, `${NAME:-default}` has a default, and `$${` stands for `${`. Default: none.
    #[serde(default)]
    pub options: Map<String, Value>,
}

impl ProviderConfig {
    /// An entry without options.
    #[must_use]
    pub fn new(resolve: impl Into<String>) -> Self {
        Self { resolve: resolve.into(), id: None, is_default: false, options: Map::new() }
    }

    /// The same under an id.
    #[must_use]
    pub fn with_id(self, id: impl Into<String>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// The same as the default.
    #[must_use]
    pub fn as_default(self) -> Self {
        Self { is_default: true, ..self }
    }

    /// The same with an option.
    #[must_use]
    pub fn with_option(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.options.insert(name.into(), value.into());
        self
    }
}

impl fmt::Debug for ProviderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderConfig")
            .field("resolve", &self.resolve)
            .field("id", &self.id)
            .field("is_default", &self.is_default)
            .field("options", &self.options.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// The options of one entry on their way to its provider's factory.
///
/// Its `Debug` shows their names, never their values.
#[derive(Clone)]
pub struct ProviderOptions(Map<String, Value>);

impl ProviderOptions {
    pub(crate) fn new(options: Map<String, Value>) -> Self {
        Self(options)
    }

    /// Fills in the environment and reads the options as `T`.
    ///
    /// Let `T` have `#[serde(deny_unknown_fields)]`: then an unknown option is an error too.
    ///
    /// # Errors
    ///
    /// - [`ConfigurationError::Option`] with the path of the option that is unknown, missing or
    ///   wrong, within these options. What the factory answers is told to the application with the
    ///   path from the top of its configuration.
    /// - [`ConfigurationError::MissingVariable`] and [`ConfigurationError::MalformedReference`] if
    ///   the environment can't be filled in.
    pub fn parse<T: DeserializeOwned>(self) -> Result<T, ConfigurationError> {
        let mut options = Value::Object(self.0);
        let mut secrets = environment::fill(&mut options, &|name| std::env::var(name).ok())?;
        // A short one that is part of a long one would break that up if it were taken out first.
        secrets.sort_unstable_by_key(|secret| Reverse(secret.len()));
        serde_path_to_error::deserialize(options).map_err(|error| {
            let path = match error.path().to_string() {
                here if here == "." => String::new(),
                below => below,
            };
            let problem = without(&secrets, error.into_inner().to_string());
            ConfigurationError::Option { path, problem }
        })
    }
}

/// A deserializer's message can quote the value that it refuses: secrets are taken out again.
fn without(secrets: &[String], message: String) -> String {
    secrets.iter().fold(message, |message, secret| {
        let escaped = format!("{secret:?}");
        message.replace(escaped.trim_matches('"'), "…").replace(secret, "…")
    })
}

impl fmt::Debug for ProviderOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProviderOptions").field(&self.0.keys().collect::<Vec<_>>()).finish()
    }
}
