use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use locking_core::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Before each line that a process reports: whatever else its store prints is not for the suite.
pub(super) const REPORT: &str = "locking-testkit> ";

/// In the environment of a process: the space in which it is a client.
pub(super) const SPACE: &str = "LOCKING_TESTKIT_PROCESS";

/// The number of the report that says that the client is connected; commands count from 1.
pub(super) const READY: u64 = 0;

/// The outcome of a refusal that says what `always!` would: no standstill of the machine excuses it.
pub(super) const VIOLATED: &str = "violated";

/// One thing to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) number: u64,
    pub(super) command: Command,
}

/// What a process can be told to do. Commands don't wait for one another.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Command {
    /// Holds a guard until it is told otherwise. Reports its token.
    Lock { key: String, lease: Duration, timeout: Duration },
    /// Whether the guard of this key is valid.
    Check { key: String },
    /// Gives the guard of this key back.
    Unlock { key: String },
    /// Reports the lease.
    Acquire { key: String, owner: Option<String>, expire: Option<Duration>, wait: Duration },
    /// Reports whether it was held.
    Release { key: String, owner: Option<String> },
    /// Adds one to the number in a file, so many times, each time in a job of its own.
    Count { key: String, file: PathBuf, times: u32 },
    /// Locks and unlocks in so many tasks at once. Reports the tokens of all holds.
    Contend { key: String, tasks: u32, time: Duration },
    /// Reports what its wall clock shows.
    Time,
    /// Closes its client and ends.
    Exit,
}

/// What came of a command.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) number: u64,
    pub(super) outcome: Result<Value, Refusal>,
}

/// Why a process didn't do what it was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Refusal {
    /// The kind of the error, by [`Error::outcome`]; `ended` where the process is gone.
    pub outcome: String,
    /// Its text.
    pub message: String,
}

impl Refusal {
    pub(super) fn new(outcome: &str, message: impl fmt::Display) -> Self {
        Self { outcome: outcome.to_owned(), message: message.to_string() }
    }

    pub(super) fn ended() -> Self {
        Self::new("ended", "the process ended before it answered")
    }
}

/// What only files are behind.
impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::new("file", error)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::new(error.outcome(), error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.outcome, self.message)
    }
}
