use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deadpool_postgres::Pool;
use locking_core::line::{ClientId, Lines};
use locking_core::{
    AcquireRequest, Backoff, Capabilities, Error, Expiry, Grant, KeySet, Lease, LockInfo, LockKey,
    LockingProvider, OwnerId, ProviderId, ReleaseScope, Result, WaitUntil, WithCauses, async_trait,
};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout, timeout_at};

use crate::connect::Connector;
use crate::database::{Database, OurPool};
use crate::failure::Failure;
use crate::options::PostgresOptions;
use crate::sessions::Sessions;
use crate::start::{Progress, Start};
use crate::statement::Statements;
use crate::store::Store;
use crate::{capabilities, migrate, pooler, survey};

/// For how long a close waits for what is still being taken back.
const CLOSING: Duration = Duration::from_secs(1);

/// For how long the connections are there after that at most: the lines give up sooner, but for what a caller keeps
/// and doesn't poll.
const UNDOING: Duration = Duration::from_secs(330);

/// For how long a close waits until the server has been told.
const LEAVING: Duration = Duration::from_millis(250);

/// Locks in a PostgreSQL database.
///
/// The connections of a small pool, and one session: whatever is held, however many wait. All of them are
/// made again by themselves.
pub struct PostgresProvider {
    id: ProviderId,
    lines: Arc<Lines<Store>>,
    database: Arc<Database>,
    sessions: Arc<Sessions>,
    connector: Connector,
    schema: String,
    capabilities: Capabilities,
    wait_locking_timeout: Duration,
    start: Arc<Start>,
    runtime: Handle,
}

impl PostgresProvider {
    /// Connects to the server. The provider's tasks run on the runtime that polls this.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`] if the server isn't there, doesn't answer, or refuses the credentials.
    /// - [`Error::UnknownOutcome`] if it stops answering half way.
    /// - [`Error::Configuration`] if an option won't do.
    ///
    /// Where the migrations haven't run that this version needs, that isn't an error yet: `migrate` can still
    /// be called. Until then every other call fails with [`Error::Configuration`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Cancellation safety
    ///
    /// Dropped at any await point, the connections that were made end. With `migrate_at_start`, the tables
    /// are up to date or as they were.
    pub async fn connect(id: ProviderId, options: PostgresOptions) -> Result<Self> {
        Self::begin(id, options, OurPool::Own).await
    }

    /// The same on the application's own pool: statements go over its connections, over half of them at once
    /// at most (half of what the pool is allowed now, but one at least), each for as long as one statement takes, and `command_timeout` at the longest. The options say
    /// how to reach the same database for the one session beside it, for migrations, and to cancel a statement
    /// that takes too long. [`LockingModuleBuilder::provider`] puts it next to configured providers.
    ///
    /// [`LockingModuleBuilder::provider`]: locking_core::LockingModuleBuilder::provider
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Cancellation safety
    ///
    /// That of [`connect`](Self::connect); the pool's connections stay the application's.
    pub async fn with_pool(id: ProviderId, pool: Pool, options: PostgresOptions) -> Result<Self> {
        Self::begin(id, options, OurPool::Of(pool)).await
    }

    async fn begin(id: ProviderId, options: PostgresOptions, pool: OurPool) -> Result<Self> {
        let runtime = Handle::current();
        let connector = Connector::new(&options)?;
        let schema = options.schema().to_owned();
        if options.pgbouncer {
            connector.find_host().await;
        } else {
            pooler::refuse(&connector, options.command_timeout, &id).await?;
            if let OurPool::Of(pool) = &pool {
                pooler::refuse_within(pool, options.command_timeout).await?;
            }
        }
        if options.migrate_at_start {
            migrate::migrate(&id, &connector, &schema).await?;
        }
        let statements = Statements::new(&schema);
        let (pooled, limit) = (options.pgbouncer, options.command_timeout);
        let database = Database::new(pool, connector.clone(), statements, pooled, limit);
        let (database, settings) = database.prepare(&id).await?;
        let database = Arc::new(database);
        let sessions = Arc::new(Sessions::none());
        let looks = Backoff::new(options.default_retry_interval, options.maximum_retry_interval);
        let looks = pooled.then_some(looks);
        let client = ClientId::fresh();
        let store = Store::new(id.clone(), client.clone(), Arc::clone(&database), &sessions, looks);
        let lines = Lines::new(store, client.clone(), runtime.clone());
        let start = Arc::new(Start {
            id: id.clone(),
            lines: Arc::clone(&lines),
            database: Arc::clone(&database),
            sessions: Arc::clone(&sessions),
            connector: connector.clone(),
            schema: schema.clone(),
            takeover: options.takeover.clone(),
            pooled,
            runtime: runtime.clone(),
            progress: Mutex::new(Progress::Ahead),
        });
        let provider = Self {
            id,
            lines,
            database,
            sessions,
            connector,
            schema,
            capabilities: capabilities(&options, &settings),
            wait_locking_timeout: options.wait_locking_timeout,
            start,
            runtime,
        };
        match provider.database.check(&provider.id, &provider.schema).await {
            // Whoever makes the tables may need the module for it.
            Err(error @ Error::Configuration(_)) => {
                let error = WithCauses::of(&error);
                tracing::warn!(provider = %provider.id, %error, "the locks can't be used yet");
            }
            checked => {
                checked?;
                provider.start.done().await?;
            }
        }
        tracing::info!(
            provider = %provider.id, server_version = settings.version,
            capabilities = %provider.capabilities, client_id = %client,
            "Connection to PostgreSQL in \"{}\" provider established", provider.id
        );
        Ok(provider)
    }

    /// What needs the tables: done once, before the first call that needs them too.
    async fn ready(&self) -> Result<()> {
        self.open()?;
        self.start.done().await
    }

    /// The same for a request, which may wait: as long as it does, a start that failed is begun once more.
    async fn ready_within(&self, request: &AcquireRequest) -> Result<()> {
        if self.start.is_done() || request.wait == WaitUntil::Now {
            return self.ready().await;
        }
        let (mut backoff, mut failed) = (Backoff::default(), None);
        let started = async {
            loop {
                match self.ready().await {
                    Err(error) if error.is_retryable() => failed = Some(error),
                    ended => return ended,
                }
                sleep(backoff.next_delay()).await;
            }
        };
        let Some(deadline) = request.wait.instant() else { return started.await };
        let ended = timeout_at(deadline, started).await;
        let timed_out = || Error::timed_out(&self.id, request.keys.first().clone());
        ended.unwrap_or_else(|_| Err(failed.unwrap_or_else(timed_out)))
    }

    fn open(&self) -> Result<()> {
        if self.lines.is_closed() { Err(Error::closed(&self.id)) } else { Ok(()) }
    }

    fn failed(&self) -> impl Fn(Failure) -> Error + use<'_> {
        |failure| failure.into_error(&self.id)
    }
}

#[async_trait]
impl LockingProvider for PostgresProvider {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn acquire(&self, request: AcquireRequest) -> Result<Grant> {
        self.ready_within(&request).await?;
        self.lines.acquire(request).await
    }

    async fn extend(&self, lease: &Lease, expiry: Expiry) -> Result<()> {
        self.ready().await?;
        self.lines.extend(lease, expiry).await
    }

    async fn release(&self, keys: KeySet, owner: Option<OwnerId>) -> Result<bool> {
        self.ready().await?;
        self.lines.store().release(&keys, owner.as_ref()).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        // Also of one that is closed: what is held is given back then.
        if !self.start.is_done() && !self.lines.is_closed() {
            self.start.done().await?;
        }
        self.lines.release_lease(lease).await
    }

    async fn release_all(&self, scope: ReleaseScope) -> Result<u64> {
        self.ready().await?;
        survey::release_all(&self.database, &scope).await.map_err(self.failed())
    }

    fn wait_locking_timeout(&self) -> Duration {
        self.wait_locking_timeout
    }

    /// Passes a guard's key on to the next of this process who waits for it; else it takes I/O.
    fn release_now(&self, lease: &Lease) -> Option<Result<()>> {
        self.lines.pass_on(lease).then_some(Ok(()))
    }

    async fn inspect(&self, key: &LockKey) -> Result<Option<LockInfo>> {
        self.ready().await?;
        let found = survey::inspect(&self.database, key).await.map_err(self.failed())?;
        Ok(found.map(|(info, origin)| self.lines.named(info, &origin)))
    }

    async fn list(&self) -> Result<Vec<LockInfo>> {
        self.ready().await?;
        let found = survey::list(&self.database).await.map_err(self.failed())?;
        Ok(found.into_iter().map(|(info, origin)| self.lines.named(info, &origin)).collect())
    }

    async fn migrate(&self) -> Result<()> {
        self.open()?;
        migrate::migrate(&self.id, &self.connector, &self.schema).await
    }

    async fn close(&self) -> Result<()> {
        let taken_back = timeout(CLOSING, self.lines.close()).await;
        self.start.end();
        leave(&self.database, &self.sessions).await;
        let (lines, database) = (Arc::clone(&self.lines), Arc::clone(&self.database));
        if taken_back.is_ok() {
            database.close();
        } else {
            self.runtime.spawn(close_later(lines, database));
        }
        taken_back.map_err(|_| {
            Error::unavailable(&self.id, "what was asked for couldn't be taken back in time")
        })
    }
}

/// The connections live until they are ended.
impl Drop for PostgresProvider {
    fn drop(&mut self) {
        let (lines, database) = (Arc::clone(&self.lines), Arc::clone(&self.database));
        let sessions = Arc::clone(&self.sessions);
        self.start.end();
        self.runtime.spawn(async move {
            // What is being given back is let finish.
            let _ = timeout(CLOSING, lines.close()).await;
            leave(&database, &sessions).await;
            close_later(lines, database).await;
        });
    }
}

/// Ends the connections of the pool when all that was asked for is taken back, or can't be any more: the lines give
/// that up some time after a close.
async fn close_later(lines: Arc<Lines<Store>>, database: Arc<Database>) {
    let _ = timeout(UNDOING, lines.close()).await;
    database.close();
}

impl fmt::Debug for PostgresProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresProvider").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Ends the session. What still hangs on it is given up first, and the server is told so: else it keeps that for as
/// long as this client could believe in it.
async fn leave(database: &Arc<Database>, sessions: &Sessions) {
    sessions.end_current();
    let number = sessions.given_up();
    if number != 0 {
        let told = database.call(|statements| &statements.leave, vec![Box::new(number)]);
        // It ends by itself otherwise.
        let _ = timeout(LEAVING, told).await;
    }
}
