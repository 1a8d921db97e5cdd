//! The driver without the provider: what the provider's calls are compared with.

use std::future::poll_fn;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::server::Server;
use crate::measure::Work;
use crate::{Result, keys, owners};

/// As long as the leases that it is compared with.
pub(super) const EXPIRY: Duration = Duration::from_secs(30);

/// As many connections as an application has, for all that it does.
pub(super) const POOL: usize = 16;

/// A row in a table with a primary key, put there and removed by a prepared statement each: the least that a
/// lock in PostgreSQL does that is a row.
pub(super) struct InsertAndDelete {
    insert: String,
    delete: String,
    pool: Pool,
    keys: Vec<String>,
    owners: Vec<String>,
    milliseconds: f64,
}

impl InsertAndDelete {
    /// As a durable lock does.
    pub(super) async fn durable(server: &Server, tasks: usize) -> Result<Self> {
        Self::new(server, "TABLE", "floor", tasks).await
    }

    /// As a lock does that a crash ends.
    pub(super) async fn unlogged(server: &Server, tasks: usize) -> Result<Self> {
        Self::new(server, "UNLOGGED TABLE", "floor_unlogged", tasks).await
    }

    async fn new(server: &Server, kind: &str, table: &str, tasks: usize) -> Result<Self> {
        let columns = "key text PRIMARY KEY, owner text NOT NULL, expires timestamptz NOT NULL";
        server.execute(&format!("CREATE {kind} IF NOT EXISTS {table} ({columns})")).await?;
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(server.url().parse()?, NoTls, config);
        let pool = Pool::builder(manager).max_size(POOL).build()?;
        // In the same table at different times.
        let (keys, owners) = (keys(tasks), owners(tasks));
        Ok(Self {
            insert: format!("INSERT INTO {table} VALUES ($1, $2, now() + $3 * interval '1 ms')"),
            delete: format!("DELETE FROM {table} WHERE key = $1 AND owner = $2"),
            pool,
            keys,
            owners,
            milliseconds: EXPIRY.as_secs_f64() * 1e3,
        })
    }

    async fn run(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) {
        let connection: Object = self.pool.get().await.expect("the server answers");
        let statement = connection.prepare_cached(sql).await.expect("it is valid");
        let changed = connection.execute(&statement, values).await.expect("the server answers");
        assert_eq!(changed, 1, "nobody else wants it");
    }
}

impl Work for InsertAndDelete {
    const BATCH: u64 = 1;

    async fn once(&self, task: usize) {
        let (key, owner) = (&self.keys[task], &self.owners[task]);
        self.run(&self.insert, &[key, owner, &self.milliseconds]).await;
        self.run(&self.delete, &[key, owner]).await;
    }
}

/// A session that tells others something, and hears what it is told.
pub(super) struct Messages {
    client: Client,
    heard: UnboundedReceiver<String>,
}

impl Messages {
    pub(super) async fn connect(url: &str, channel: &str) -> Result<Self> {
        let (client, mut connection) = tokio_postgres::connect(url, NoTls).await?;
        let (tell, heard) = unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notification(told) = message
                    && tell.send(told.payload().to_owned()).is_err()
                {
                    return;
                }
            }
        });
        client.batch_execute(&format!("LISTEN {channel}")).await?;
        Ok(Self { client, heard })
    }

    /// The next one; none once the session has ended.
    pub(super) async fn next(&mut self) -> Option<String> {
        self.heard.recv().await
    }

    /// How many there are since they were last counted.
    pub(super) fn count(&mut self) -> usize {
        std::iter::from_fn(|| self.heard.try_recv().ok()).count()
    }

    pub(super) async fn tell(&self, channel: &str, message: &str) -> Result {
        // Without values there is nothing to prepare.
        self.client.batch_execute(&format!("NOTIFY {channel}, '{message}'")).await?;
        Ok(())
    }
}
