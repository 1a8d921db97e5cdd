use locking_core::{ConfigurationError, Error, ProviderId, Result};
use tokio_postgres::{Client, Row};

use crate::failure::Failure;

/// What the locks depend on in how the server is set up.
#[derive(Debug)]
pub(crate) struct Settings {
    /// What the server calls its version.
    pub(crate) version: String,
    /// How many locks the server reserves for each connection.
    pub(crate) locks_per_connection: i32,
    /// Whether a crash leaves what was committed.
    pub(crate) is_durable: bool,
}

const QUERY: &str = "SELECT current_setting('server_version_num')::int, \
    current_setting('server_encoding'), current_setting('transaction_isolation'), \
    pg_is_in_recovery(), current_setting('max_locks_per_transaction')::int, \
    current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on', \
    current_setting('server_version')";

impl Settings {
    /// Reads them, and refuses those with which no lock would hold.
    pub(crate) async fn of(client: &Client, id: &ProviderId) -> Result<Self> {
        let refused = |failure: Failure| failure.unchanged().into_error(id);
        let rows = client.query_typed(QUERY, &[]).await.map_err(|error| refused(error.into()))?;
        let row = rows.first().ok_or_else(|| refused(Failure::unexpected()))?;
        Self::read(row, id)
    }

    fn read(row: &Row, id: &ProviderId) -> Result<Self> {
        let wrong = |problem: &str| Err(ConfigurationError::option("url", problem).into());
        let unexpected =
            |error: tokio_postgres::Error| Failure::from(error).unchanged().into_error(id);
        let version: i32 = row.try_get(0).map_err(unexpected)?;
        if version < 140_000 {
            return wrong("the server has to be PostgreSQL 14 or later");
        }
        if row.try_get::<_, &str>(1).map_err(unexpected)? != "UTF8" {
            return wrong("the database has to be encoded in UTF8, as keys and owners are");
        }
        if row.try_get::<_, &str>(2).map_err(unexpected)? != "read committed" {
            return wrong(
                "transactions have to begin at READ COMMITTED: set `default_transaction_isolation` to 'read committed' for this role",
            );
        }
        if row.try_get(3).map_err(unexpected)? {
            return Err(Error::unavailable(id, "the PostgreSQL server is a standby"));
        }
        Ok(Self {
            version: row.try_get(6).map_err(unexpected)?,
            locks_per_connection: row.try_get(4).map_err(unexpected)?,
            is_durable: row.try_get(5).map_err(unexpected)?,
        })
    }
}
