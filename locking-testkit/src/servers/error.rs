use std::fmt;
use std::time::Duration;

use super::source::Source;

/// Why there is no server, or why it didn't do what it was told.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// No source has a server.
    #[error("no {server} server is to be had{tried}\n{advice}")]
    #[non_exhaustive]
    NotToBeHad {
        /// The kind of server.
        server: &'static str,
        /// What was tried, and why it didn't work.
        tried: Tried,
        /// What to install or to set.
        advice: String,
    },
    /// A variable says something that can't be understood.
    #[error("`{variable}` is {problem}")]
    #[non_exhaustive]
    Variable {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it. Addresses are not shown: they may have a password in them.
        problem: String,
    },
    /// The server didn't start, or didn't end.
    #[error("{server}: {problem}")]
    #[non_exhaustive]
    Failed {
        /// The kind of server.
        server: &'static str,
        /// What happened, and the end of the server's log.
        problem: String,
    },
    /// The server didn't do it in time.
    #[error("{server}: {what}: not within {within:?}")]
    #[non_exhaustive]
    TimedOut {
        /// The kind of server.
        server: &'static str,
        /// What it should have done.
        what: &'static str,
        /// How long it had.
        within: Duration,
    },
    /// The server is somebody else's, who named its address: it is not ended or stopped from here.
    #[error("the {server} server of the environment is not ours to {operation}")]
    #[non_exhaustive]
    NotOurs {
        /// The kind of server.
        server: &'static str,
        /// What was asked for.
        operation: &'static str,
    },
    /// The server refused a command, or can't be reached.
    #[error("{server} was asked for `{command}`: {problem}")]
    #[non_exhaustive]
    Command {
        /// The kind of server.
        server: &'static str,
        /// The command, without its arguments.
        command: String,
        /// The answer, or why there is none.
        problem: String,
    },
}

/// As it is displayed: tests mostly show it by `expect`.
impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Sources that were tried, each with the reason why it doesn't work.
#[derive(Debug, Default)]
pub struct Tried(Vec<(Source, String)>);

impl Tried {
    pub(super) fn add(&mut self, source: Source, why: impl Into<String>) {
        self.0.push((source, why.into()));
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(source, why)| write!(f, "\n  {source}: {why}"))
    }
}
