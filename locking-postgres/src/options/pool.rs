use locking_core::ConfigurationError;
use serde::Deserialize;

/// The connections on which statements run. One more is the process's session, unless a pooler lies between.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PoolOptions {
    /// How many there are, at least 1; they are opened at start. Default: 4.
    #[serde(deserialize_with = "locking_core::config::or_text::deserialize")]
    pub max_size: usize,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self { max_size: 4 }
    }
}

impl PoolOptions {
    pub(super) fn check(&self) -> Result<(), ConfigurationError> {
        if self.max_size == 0 {
            return Err(ConfigurationError::option("pool.max_size", "it has to be at least 1"));
        }
        Ok(())
    }
}
