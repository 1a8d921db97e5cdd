use refinery_core::Migration;
use refinery_core::traits::r#async::{AsyncMigrate, AsyncQuery, AsyncTransaction};
use time::OffsetDateTime;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow, Transaction};

use crate::failure::Failure;

/// Lets refinery run migrations inside a transaction, and read which have run. Its own driver for the
/// client makes several transactions, of which the gate would hold for one, and panics at a table that
/// has the name of its own by chance.
pub(super) struct History<'a>(pub(super) &'a Transaction<'a>);

/// Why nobody knows which have run.
#[derive(Debug, thiserror::Error)]
pub(super) enum HistoryError {
    #[error(transparent)]
    Failure(#[from] Failure),
    #[error("it isn't one of `locking`'s")]
    Foreign,
}

impl AsyncTransaction for History<'_> {
    type Error = HistoryError;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(
        &'a mut self,
        queries: T,
    ) -> Result<usize, HistoryError> {
        let mut count = 0;
        for query in queries {
            self.0.batch_execute(query).await.map_err(Failure::from)?;
            count += 1;
        }
        Ok(count)
    }
}

impl AsyncQuery<Vec<Migration>> for History<'_> {
    async fn query<'a>(&'a mut self, query: &'a str) -> Result<Vec<Migration>, HistoryError> {
        let answer = self.0.simple_query(query).await.map_err(Failure::from)?;
        let rows = answer.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        rows.map(|row| applied(row).ok_or(HistoryError::Foreign)).collect()
    }
}

impl AsyncMigrate for History<'_> {}

/// The migration of a row: version, name, date and checksum.
fn applied(row: &SimpleQueryRow) -> Option<Migration> {
    let version = row.try_get(0).ok()??.parse().ok()?;
    let name = row.try_get(1).ok()??.to_owned();
    let checksum = row.try_get(3).ok()??.parse().ok()?;
    // Nobody asks when.
    Some(Migration::applied(version, name, OffsetDateTime::UNIX_EPOCH, checksum))
}
