use locking::{FencingToken, ProviderConfig};
use tokio_postgres::{Client, NoTls};

use crate::{Product, Result};

/// The first process makes it; `IF NOT EXISTS` alone would let two of them make it at once.
const TABLE: &str = "
    BEGIN;
    SELECT pg_advisory_xact_lock(hashtext('fenced_writes'));
    CREATE SCHEMA IF NOT EXISTS fenced_writes;
    CREATE TABLE IF NOT EXISTS fenced_writes.products (
        id text PRIMARY KEY,
        stock bigint NOT NULL,
        lock_token bigint NOT NULL DEFAULT 0
    );
    COMMIT;
";

/// The condition is all there is to it. No row means: a newer holder was here.
const STOCK: &str = "
    UPDATE fenced_writes.products SET lock_token = $2
     WHERE id = $1 AND lock_token <= $2
    RETURNING stock
";
const SET_STOCK: &str = "
    UPDATE fenced_writes.products SET stock = $2, lock_token = $3
     WHERE id = $1 AND lock_token <= $3
";

/// A row.
pub(crate) struct PostgresProduct {
    client: Client,
    id: String,
}

impl Product for PostgresProduct {
    fn locks() -> ProviderConfig {
        ProviderConfig::new("locking-postgres")
            .with_option("url", "${LOCKING_POSTGRES_URL}")
            .with_option("schema", "fenced_writes")
            .with_option("migrate_at_start", true)
    }

    async fn open(url: &str, key: &str) -> Result<Self> {
        // Without TLS, which the locks' own connections would use where the server offers it.
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        client.batch_execute(TABLE).await?;
        let insert = "INSERT INTO fenced_writes.products VALUES ($1, 5) ON CONFLICT DO NOTHING";
        client.execute(insert, &[&key]).await?;
        Ok(Self { client, id: key.to_owned() })
    }

    async fn stock(&self, token: FencingToken) -> Result<Option<i64>> {
        let token = i64::try_from(token.get())?;
        let row = self.client.query_opt(STOCK, &[&self.id, &token]).await?;
        Ok(row.map(|row| row.get(0)))
    }

    async fn set_stock(&self, stock: i64, token: FencingToken) -> Result<bool> {
        let token = i64::try_from(token.get())?;
        Ok(self.client.execute(SET_STOCK, &[&self.id, &stock, &token]).await? == 1)
    }

    async fn remove(&self) -> Result {
        let delete = "DELETE FROM fenced_writes.products WHERE id = $1";
        self.client.execute(delete, &[&self.id]).await?;
        Ok(())
    }
}
