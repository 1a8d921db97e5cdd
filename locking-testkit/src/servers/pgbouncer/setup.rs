use super::handle::PgBouncer;
use super::start::Before;
use crate::servers::error::{ServerError, Tried};
use crate::servers::postgres::Postgres;
use crate::servers::start;

/// How a PgBouncer is set up. Without more, it pools transactions: a session of the server's is a
/// client's for one transaction.
#[derive(Clone, Debug, Default)]
#[must_use = "a setup does nothing until it is started"]
pub struct PgBouncerSetup {
    pub(super) settings: Vec<(String, String)>,
}

impl PgBouncerSetup {
    /// One that pools transactions.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with a line of its configuration, such as `pool_mode` and `session`, or
    /// `default_pool_size` and `5`. A later one goes before an earlier one of its name.
    ///
    /// Addresses and ports are not to be set.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts one before this server, as a process: whatever `LOCKING_TEST_SERVERS` says, which is
    /// about the server behind it.
    ///
    /// # Errors
    ///
    /// - [`ServerError::NotToBeHad`] if `pgbouncer` isn't installed.
    /// - [`ServerError::Failed`] or [`ServerError::TimedOut`] if it doesn't start.
    pub async fn start(self, server: &Postgres) -> Result<PgBouncer, ServerError> {
        start::process(&Before { server, setup: &self }, Tried::default()).await
    }
}
