use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;

use super::error::ServerError;
use super::port;
use super::server::Server;

/// What a kind of server is called, and how one knows that it answers.
pub(super) struct Kind {
    /// In errors.
    pub(super) name: &'static str,
    /// The variable that names one.
    pub(super) variable: &'static str,
    /// How its addresses begin, with how they are written here.
    pub(super) schemes: &'static [(&'static str, &'static str)],
    /// What addresses look like, for people.
    pub(super) example: &'static str,
    pub(super) port: u16,
    /// Asks it once.
    pub(super) probe: fn(&Server) -> Probe<'_>,
}

/// A question whether a server is ready.
pub(super) type Probe<'a> = Pin<Box<dyn Future<Output = Result<(), Unready>> + Send + 'a>>;

/// Why a server isn't ready.
pub(super) enum Unready {
    /// It may be in a moment.
    Yet(String),
    /// It is there, and says no.
    Refused(String),
}

impl Kind {
    /// A port of 127.0.0.1 for a server.
    pub(super) fn free_port(&self) -> Result<SocketAddr, ServerError> {
        port::free().map_err(|error| self.failed("no free port", &error))
    }

    /// The error of a server that didn't start.
    pub(super) fn failed(&self, what: &str, error: &dyn fmt::Display) -> ServerError {
        ServerError::Failed { server: self.name, problem: format!("{what}: {error}") }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
