use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::config::ConfigurationError;

/// The name of a configured provider: its `id`, by which calls pick it and errors name it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProviderId(SmolStr);

impl ProviderId {
    /// What the original module put before an identifier; calls may, ids may not.
    pub const PREFIX: &'static str = "lp_";

    /// Checks a text and makes it an id.
    ///
    /// # Errors
    ///
    /// [`ConfigurationError::ReservedId`] if the text is empty or starts with
    /// [`lp_`](Self::PREFIX).
    pub fn new(text: impl AsRef<str>) -> Result<Self, ConfigurationError> {
        if text.as_ref().is_empty() || text.as_ref().starts_with(Self::PREFIX) {
            return Err(ConfigurationError::ReservedId { id: text.as_ref().to_owned() });
        }
        Ok(Self(SmolStr::new(text)))
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl TryFrom<String> for ProviderId {
    type Error = ConfigurationError;

    fn try_from(text: String) -> Result<Self, ConfigurationError> {
        Self::new(text)
    }
}

impl From<ProviderId> for String {
    fn from(id: ProviderId) -> Self {
        id.as_str().to_owned()
    }
}
