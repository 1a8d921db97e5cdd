use std::sync::Arc;

use locking_core::{LockingModule, ProviderId};
use locking_redis::{IDENTIFIER, RedisOptions, RedisProvider};
use locking_testkit::servers::{Redis, RedisSetup};

use crate::Result;

const NAMESPACE: &str = "bench:";

/// A server that nobody else uses.
pub(super) struct Server(Redis);

/// What the server has done of the command that calls a script.
pub(super) struct Scripts {
    pub(super) calls: u64,
    pub(super) microseconds: u64,
}

impl Server {
    pub(super) async fn start() -> Result<Self> {
        Ok(Self(RedisSetup::new().start().await?))
    }

    pub(super) fn url(&self) -> String {
        self.0.url()
    }

    /// A module with a client of its own.
    pub(super) async fn module(&self) -> Result<LockingModule> {
        module(&self.url()).await
    }

    pub(super) async fn scripts(&self) -> Result<Scripts> {
        let statistics = self.0.command(&["INFO", "commandstats"]).await?;
        let line = statistics.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:"));
        let field = |name: &str| {
            let mut fields = line?.split(',').filter_map(|field| field.split_once('='));
            fields.find(|(key, _)| *key == name)?.1.trim().parse().ok()
        };
        // No line: it was never called.
        Ok(Scripts { calls: field("calls").unwrap_or(0), microseconds: field("usec").unwrap_or(0) })
    }
}

pub(super) async fn module(url: &str) -> Result<LockingModule> {
    let options = RedisOptions::new(url)?.with_namespace(NAMESPACE)?;
    let provider = RedisProvider::connect(ProviderId::new(IDENTIFIER)?, options).await?;
    Ok(LockingModule::with_provider(Arc::new(provider)))
}
