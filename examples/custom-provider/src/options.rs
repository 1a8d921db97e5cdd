use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use locking_core::{ConfigurationError, config};
use serde::Deserialize;

/// What can be set in a configuration's `options`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// The file that the locks are in. It is made if it isn't there, with two more beside it, `-wal` and
    /// `-shm`; its folder has to be there. It holds nothing else, and lies on no network file system. A
    /// relative path counts from where the process is when it connects. Required.
    pub path: PathBuf,
    /// How long guards and jobs wait when they don't say. Default: 5 s.
    #[serde(with = "config::duration", default = "wait_locking_timeout")]
    pub wait_locking_timeout: Duration,
    /// How soon a key that somebody holds is tried again; then at growing intervals. Default: 5 ms.
    #[serde(with = "config::duration::human_only", default = "default_retry_interval")]
    pub default_retry_interval: Duration,
    /// The longest of those intervals, and so how late a waiter can be; at most 500 ms. Default: 50 ms.
    #[serde(with = "config::duration::human_only", default = "maximum_retry_interval")]
    pub maximum_retry_interval: Duration,
    /// How long an operation waits while other processes write to the file, before it fails as
    /// unavailable; 1 ms to 60 s. Default: 2 s.
    #[serde(with = "config::duration", default = "busy_timeout")]
    pub busy_timeout: Duration,
}

impl SqliteOptions {
    /// The defaults, for this file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            wait_locking_timeout: wait_locking_timeout(),
            default_retry_interval: default_retry_interval(),
            maximum_retry_interval: maximum_retry_interval(),
            busy_timeout: busy_timeout(),
        }
    }

    /// Finds out, without looking at the file, whether they will do.
    pub(crate) fn check(&self) -> Result<(), ConfigurationError> {
        let problem = if self.path.as_os_str().is_empty() {
            (
                "path",
                "it is empty: give the file that the locks are in, say `/var/lib/shop/locks.sqlite`",
            )
        } else if self.path.as_os_str().as_bytes().contains(&0) {
            ("path", "it has a NUL byte in it, which no file's name can have")
        } else if self.maximum_retry_interval > Duration::from_millis(500) {
            // Twice of that, and a waiter doesn't find a free key within a second.
            ("maximum_retry_interval", "it is longer than 500 ms")
        } else if self.default_retry_interval > self.maximum_retry_interval {
            ("default_retry_interval", "it is longer than `maximum_retry_interval`")
        } else if !BUSY.contains(&self.busy_timeout) {
            ("busy_timeout", "it is less than 1 ms or more than 60 s")
        } else {
            return Ok(());
        };
        Err(ConfigurationError::option(problem.0, problem.1))
    }
}

const BUSY: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);

const fn wait_locking_timeout() -> Duration {
    Duration::from_secs(5)
}

const fn default_retry_interval() -> Duration {
    Duration::from_millis(5)
}

const fn maximum_retry_interval() -> Duration {
    Duration::from_millis(50)
}

const fn busy_timeout() -> Duration {
    Duration::from_secs(2)
}
