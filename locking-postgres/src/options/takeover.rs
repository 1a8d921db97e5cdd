use std::time::Duration;

use locking_core::{ConfigurationError, config};
use serde::Deserialize;

/// How soon what a dead process held is free: its session is ended by the server, and its guards with it.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TakeoverOptions {
    /// How often a process says that it lives; longer than zero. Default: 1 s.
    #[serde(with = "config::duration")]
    pub heartbeat: Duration,
    /// How long the server keeps the session of a process that says nothing. At least 1 s, and three
    /// heartbeats; at most a day. Default: 10 s.
    #[serde(with = "config::duration")]
    pub session_timeout: Duration,
}

impl Default for TakeoverOptions {
    fn default() -> Self {
        Self { heartbeat: Duration::from_secs(1), session_timeout: Duration::from_secs(10) }
    }
}

impl TakeoverOptions {
    /// The server counts in milliseconds, up to 24 days; and after its crash nothing is granted for as long as
    /// anybody believes in a session.
    const LONGEST: Duration = Duration::from_secs(86_400);

    pub(super) fn check(&self) -> Result<(), ConfigurationError> {
        let refuse = |option: &str, problem: &str| Err(ConfigurationError::option(option, problem));
        if self.heartbeat.is_zero() {
            return refuse("takeover.heartbeat", "it has to be longer than zero");
        }
        if self.session_timeout < Duration::from_secs(1) {
            return refuse("takeover.session_timeout", "it has to be at least 1 s");
        }
        if self.session_timeout > Self::LONGEST {
            return refuse("takeover.session_timeout", "it has to be at most a day");
        }
        if self.session_timeout < self.heartbeat.saturating_mul(3) {
            return refuse(
                "takeover.session_timeout",
                "it has to be at least three times `takeover.heartbeat`",
            );
        }
        Ok(())
    }
}
