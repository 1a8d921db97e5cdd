use std::ops::Deref;

use super::CONSOLE;
use super::setup::PgBouncerSetup;
use crate::servers::error::ServerError;
use crate::servers::kind::Probe;
use crate::servers::postgres::{Asked, Postgres, Problem, ask, execute};
use crate::servers::server::Server;

/// A PgBouncer before a PostgreSQL server, for tests. What it has in common with servers:
/// [`Server`]. Its address is that of the server, at another port.
#[derive(Debug)]
pub struct PgBouncer {
    server: Server,
}

impl PgBouncer {
    pub(super) const fn new(server: Server) -> Self {
        Self { server }
    }

    /// One that pools transactions before this server: [`PgBouncerSetup`].
    ///
    /// # Errors
    ///
    /// As [`PgBouncerSetup::start`].
    pub async fn start(server: &Postgres) -> Result<Self, ServerError> {
        PgBouncerSetup::new().start(server).await
    }

    /// Has PgBouncer itself execute a command, such as `SHOW POOLS`, `PAUSE` or `KILL`. The answer is
    /// the first column, a row a line.
    ///
    /// # Errors
    ///
    /// [`ServerError::Command`] if it refuses the command, can't be reached, or takes longer than
    /// 10 s.
    pub async fn console(&self, command: &str) -> Result<String, ServerError> {
        execute(self, Asked { database: Some(CONSOLE), sql: command }).await
    }
}

impl Deref for PgBouncer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// Whether it answers, whatever the server behind it does.
pub(super) fn probe(server: &Server) -> Probe<'_> {
    Box::pin(async move {
        let answer = ask(server, Asked { database: Some(CONSOLE), sql: "SHOW VERSION" }).await;
        answer.map(drop).map_err(Problem::into_unready)
    })
}
