use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_postgres::Pool;
use locking_core::line::{ClientId, Lines};
use locking_core::{
    AcquireRequest, Backoff, Capabilities, ConfigurationError, Error, Expiry, Grant, KeySet, Lease,
    LockInfo, LockKey, LockingProvider, OwnerId, ProviderId, ReleaseScope, Result, async_trait,
};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

use crate::connect::Connector;
use crate::database::{Database, OurPool};
use crate::failure::Failure;
use crate::listener::Listener;
use crate::options::{PostgresOptions, TakeoverOptions};
use crate::sessions::{Joined, Sessions};
use crate::statement::Statements;
use crate::store::Store;
use crate::{capabilities, migrate, pooler, survey};

/// For how long a close waits for what is still being taken back.
const CLOSING: Duration = Duration::from_secs(1);

/// For how long a close waits until the server has been told.
const LEAVING: Duration = Duration::from_millis(250);

/// How often what is over is cleared away, by one of all clients.
const SWEEP: Duration = Duration::from_secs(5);

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
    takeover: TakeoverOptions,
    /// Whether a pooler lies between: then there is no session.
    pooled: bool,
    /// Set once the tables are there, and the tasks run.
    started: OnceCell<()>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
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
    /// that takes too long.
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
        if !options.pgbouncer {
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
        let store = Store::new(id.clone(), Arc::clone(&database), &sessions, looks);
        let lines = Lines::new(store, ClientId::fresh(), runtime.clone());
        let provider = Self {
            id,
            lines,
            database,
            sessions,
            connector,
            schema,
            capabilities: capabilities(&options, &settings),
            wait_locking_timeout: options.wait_locking_timeout,
            takeover: options.takeover,
            pooled,
            started: OnceCell::new(),
            tasks: Mutex::default(),
            runtime,
        };
        match provider.database.check(&provider.id, &provider.schema).await {
            // Whoever makes the tables may need the module for it.
            Err(error @ Error::Configuration(_)) => {
                tracing::warn!(provider = %provider.id, %error, "the locks can't be used yet");
            }
            checked => {
                checked?;
                provider.started.get_or_try_init(|| provider.start()).await?;
            }
        }
        tracing::info!("Connection to PostgreSQL in \"{}\" provider established", provider.id);
        Ok(provider)
    }

    /// What needs the tables: done once, before the first call that needs them too.
    async fn ready(&self) -> Result<()> {
        self.open()?;
        self.made().await
    }

    /// The same, also once it is closed: what is held is given back then. A closed one that never needed the
    /// tables doesn't begin to.
    async fn made(&self) -> Result<()> {
        if !self.started.initialized() {
            self.open()?;
        }
        let start = || async {
            self.database.check(&self.id, &self.schema).await?;
            self.start().await
        };
        self.started.get_or_try_init(start).await.copied()
    }

    async fn start(&self) -> Result<()> {
        let listening = if self.pooled { None } else { Some(self.listen().await?) };
        self.database.rehearse().await;
        let mut tasks = self.tasks();
        // A close ends the tasks that it sees; one that doesn't see these is seen here.
        self.open()?;
        tasks.extend(listening.and_then(Listening::started));
        tasks.push(self.runtime.spawn(sweep(Arc::downgrade(&self.database))));
        Ok(())
    }

    async fn listen(&self) -> Result<Listening> {
        let listener = Listener {
            connector: self.connector.clone(),
            database: Arc::clone(&self.database),
            takeover: self.takeover.clone(),
            sessions: Arc::clone(&self.sessions),
        };
        let open = listener.open().await.map_err(self.failed())?;
        let running = listener.run(Some(open), Arc::downgrade(&self.lines));
        let listening = Listening {
            task: Some(self.runtime.spawn(running)),
            sessions: Arc::clone(&self.sessions),
        };
        check_session(&self.id, &self.database, &self.sessions).await?;
        Ok(listening)
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.ready().await?;
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
        self.made().await?;
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
        let tasks = std::mem::take(&mut *self.tasks());
        leave(&self.database, &self.sessions, &tasks).await;
        taken_back.map_err(|_| {
            Error::unavailable(&self.id, "what was asked for couldn't be taken back in time")
        })
    }
}

/// The connections live until they are ended.
impl Drop for PostgresProvider {
    fn drop(&mut self) {
        let (lines, database) = (Arc::clone(&self.lines), Arc::clone(&self.database));
        let (sessions, tasks) = (Arc::clone(&self.sessions), std::mem::take(&mut *self.tasks()));
        self.runtime.spawn(async move {
            // What is being given back is let finish.
            let _ = timeout(CLOSING, lines.close()).await;
            leave(&database, &sessions, &tasks).await;
        });
    }
}

impl fmt::Debug for PostgresProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresProvider").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The session of a provider that isn't started yet. A start that fails, or is given up half way, ends it: the
/// next one opens another, and there is one at a time.
struct Listening {
    task: Option<JoinHandle<()>>,
    sessions: Arc<Sessions>,
}

impl Listening {
    fn started(mut self) -> Option<JoinHandle<()>> {
        self.task.take()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            self.sessions.end_current();
        }
    }
}

/// Ends the connections. What still hangs on the session is given up first, and the server is told so: else it
/// keeps that for as long as this client could believe in it.
async fn leave(database: &Arc<Database>, sessions: &Sessions, tasks: &[JoinHandle<()>]) {
    tasks.iter().for_each(JoinHandle::abort);
    sessions.end_current();
    let number = sessions.given_up();
    if number != 0 {
        let told = database.call(|statements| &statements.leave, vec![Box::new(number)]);
        // It ends by itself otherwise.
        let _ = timeout(LEAVING, told).await;
    }
    database.close();
}

/// Whether statements see that the session lives: by its lock. Otherwise everybody took what it holds.
async fn check_session(
    id: &ProviderId,
    database: &Arc<Database>,
    sessions: &Sessions,
) -> Result<()> {
    let Some(Joined { number, session }) = sessions.joined() else { return Ok(()) };
    let refused = |failure: Failure| failure.into_error(id);
    let rows = database.call(|statements| &statements.is_gone, vec![Box::new(number)]).await;
    let rows = rows.map_err(refused)?;
    let row = rows.first().ok_or_else(|| refused(Failure::unexpected()))?;
    let is_gone: bool = row.try_get(0).map_err(|error| refused(error.into()))?;
    if !is_gone || !session.is_alive() {
        return Ok(());
    }
    let problem = "the pool's connections lead to another database, or over a transaction pooler: then set `pgbouncer`";
    Err(ConfigurationError::option("url", problem).into())
}

/// Clears what is over, as long as there is a database.
async fn sweep(database: std::sync::Weak<Database>) {
    let mut due = interval(SWEEP / 4);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let Some(database) = database.upgrade() else { return };
        if let Err(failure) = survey::sweep(&database, SWEEP).await {
            tracing::debug!(?failure, "what is over couldn't be cleared away");
        }
    }
}
