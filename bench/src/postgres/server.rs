use std::sync::Arc;

use locking_core::{LockingModule, ProviderId};
use locking_postgres::{IDENTIFIER, PoolOptions, PostgresOptions, PostgresProvider};
use locking_testkit::servers::{Postgres, PostgresSetup};

use crate::Result;

/// Where the messages of the ring go: the sessions of the locks aren't woken by them there.
const RING: &str = "ring";

/// A server that nobody else uses, on a disk, as one in production is.
pub(super) struct Server(Postgres);

impl Server {
    /// Each of its commits, or of those that go to the disk together, waits for so many microseconds before.
    pub(super) async fn start(commit_delay: u32) -> Result<Self> {
        let server = PostgresSetup::new().durable().max_connections(200).start().await?;
        // Makes the extension that counts.
        server.commands().await?;
        server.create_database(RING).await?;
        for setting in [format!("commit_delay = {commit_delay}"), "commit_siblings = 0".to_owned()]
        {
            server.command(&format!("ALTER SYSTEM SET {setting}")).await?;
        }
        server.command("SELECT pg_reload_conf()").await?;
        let started = Self(server);
        let mut options = PostgresOptions::new(started.url())?;
        options.migrate_at_start = true;
        module_with(options).await?.close(std::time::Duration::from_secs(1)).await?;
        Ok(started)
    }

    pub(super) fn url(&self) -> String {
        self.0.url()
    }

    /// A module with connections of its own.
    pub(super) async fn module(&self) -> Result<LockingModule> {
        module(&self.url()).await
    }

    pub(super) async fn execute(&self, sql: &str) -> Result<String> {
        Ok(self.0.command(sql).await?)
    }

    pub(super) async fn number(&self, sql: &str) -> Result<f64> {
        Ok(self.execute(sql).await?.parse()?)
    }

    /// How many statements it has executed.
    pub(super) async fn statements(&self) -> Result<u64> {
        Ok(self.0.commands().await?)
    }

    /// For how many milliseconds it has been busy with calls of this function.
    pub(super) async fn busy_with(&self, function: &str) -> Result<f64> {
        self.number(&format!(
            "SELECT coalesce(sum(total_exec_time), 0) FROM pg_stat_statements \
             WHERE query LIKE 'SELECT %{function}(%'"
        ))
        .await
    }

    /// How many connections all modules have, beside their pools.
    pub(super) async fn beside_the_pools(&self, modules: usize) -> Result<f64> {
        let open = self
            .number(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'locking%' \
                 AND application_name NOT LIKE 'locking-test%'",
            )
            .await?;
        Ok(open - (modules * PoolOptions::default().max_size) as f64)
    }
}

pub(super) async fn module(url: &str) -> Result<LockingModule> {
    module_with(PostgresOptions::new(url)?).await
}

async fn module_with(options: PostgresOptions) -> Result<LockingModule> {
    let provider = PostgresProvider::connect(ProviderId::new(IDENTIFIER)?, options).await?;
    Ok(LockingModule::with_provider(Arc::new(provider)))
}

/// The address of the ring's database.
pub(super) fn ring_url(url: &str) -> Result<String> {
    let (server, _) = url.rsplit_once('/').ok_or("an address without a database")?;
    Ok(format!("{server}/{RING}"))
}
