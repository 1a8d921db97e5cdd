use std::time::Duration;

use serde::Deserialize;

/// What can be set in a configuration's `options`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct MemoryOptions {
    /// How long guards and jobs wait when they don't say. A text such as `"5s"`, or a number of
    /// seconds. Default: 5 s.
    #[serde(with = "locking_core::config::duration")]
    pub wait_locking_timeout: Duration,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self { wait_locking_timeout: Duration::from_secs(5) }
    }
}
