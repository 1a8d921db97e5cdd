use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fred::types::Value;
use locking_core::line::{ClientId, Lines, Standing};
use locking_core::{
    AcquireRequest, Backoff, Capabilities, Capability, ConfigurationError, Error, Expiry, Grant,
    KeySet, Lease, LockInfo, LockKey, LockingProvider, LossReason, Moment, OwnerId, ProviderId,
    ReleaseScope, Result, async_trait,
};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::connection::Connection;
use crate::failure::Failure;
use crate::operation::Operation;
use crate::options::RedisOptions;
use crate::pipeline::Pipeline;
use crate::reply::Reply;
use crate::settings::Settings;
use crate::store::Store;
use crate::{CAPABILITIES, listener, survey};

/// For how long a close waits for what is still being taken back.
const CLOSING: Duration = Duration::from_secs(1);

/// Locks on a Redis server.
///
/// Two connections, whatever is held and however many wait: one for commands, one on which the server
/// tells of grants. Both are made again by themselves.
pub struct RedisProvider {
    id: ProviderId,
    lines: Arc<Lines<Store>>,
    connection: Connection,
    capabilities: Capabilities,
    wait_locking_timeout: Duration,
    patience: Duration,
    listener: JoinHandle<()>,
    runtime: Handle,
}

impl RedisProvider {
    /// Connects to the server. The provider's tasks run on the runtime that polls this.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`] if the server isn't there, doesn't answer, or refuses the credentials.
    /// - [`Error::Configuration`] if an option won't do.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn connect(id: ProviderId, options: RedisOptions) -> Result<Self> {
        let runtime = Handle::current();
        let connection = Connection::open(&id, &options).await?;
        let client = ClientId::fresh();
        let namespace = options.namespace();
        let pipeline = Pipeline::new(connection.clone(), namespace, runtime.clone());
        let refused = |failure: Failure| failure.into_error(&id);
        if let Err(failure) = pipeline.load().await {
            connection.close().await;
            return Err(refused(failure));
        }
        let settings = Settings::of(&connection).await;
        if settings.is("cluster-enabled", "yes") {
            connection.close().await;
            let problem = "this is a node of a cluster, and clusters aren't supported yet";
            return Err(ConfigurationError::option("redis_url", problem).into());
        }
        let capabilities = capabilities(&settings);
        let store = Store::new(id.clone(), pipeline, &options);
        let channel = Value::from(format!("{namespace}\0c{client}"));
        let lines = Lines::new(store, client, runtime.clone());
        if let Err(failure) = listener::begin(&connection, &channel).await {
            connection.close().await;
            return Err(refused(failure));
        }
        let listening = listener::listen(connection.clone(), channel, Arc::downgrade(&lines));
        let listener = runtime.spawn(listening);
        tracing::info!("Connection to Redis in \"{id}\" provider established");
        Ok(Self {
            id,
            lines,
            connection,
            capabilities,
            wait_locking_timeout: options.wait_locking_timeout,
            patience: options.redis_options.command_timeout,
            listener,
            runtime,
        })
    }

    fn open(&self) -> Result<()> {
        if self.lines.is_closed() { Err(Error::closed(&self.id)) } else { Ok(()) }
    }

    async fn call(&self, operation: Operation) -> Result<Reply> {
        let reply = self.lines.store().call(operation).await;
        reply.map_err(|failure| failure.into_error(&self.id))
    }

    fn failed(&self) -> impl Fn(Failure) -> Error + use<'_> {
        |failure| failure.into_error(&self.id)
    }

    /// The truth about a guard of this client that was passed on since the server was told.
    fn named(&self, (info, request): (LockInfo, String)) -> LockInfo {
        match self.lines.holder(&info.key) {
            Some((origin, lease)) if origin.as_str() == request => {
                let mut now = LockInfo::new(info.key, lease.token(), info.kind);
                now.expires_in = info.expires_in;
                now.with_owner(lease.owner)
            }
            _ => info,
        }
    }
}

#[async_trait]
impl LockingProvider for RedisProvider {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn acquire(&self, request: AcquireRequest) -> Result<Grant> {
        self.lines.acquire(request).await
    }

    async fn extend(&self, lease: &Lease, expiry: Expiry) -> Result<()> {
        self.open()?;
        let give_up = Instant::now() + self.patience;
        let mut backoff = Backoff::default();
        loop {
            let standing = self.lines.standing(lease);
            if standing == Standing::Superseded {
                return Err(lost(lease, 0));
            }
            let asked = Moment::now();
            let operation = self.lines.store().operations.extend(lease, expiry, &standing);
            match self.call(operation).await {
                Ok(mut reply) => {
                    let at = reply.integer().map_err(self.failed())?;
                    let Some(at) = usize::try_from(at - 1).ok() else {
                        self.lines.extended(lease, asked, expiry);
                        return Ok(());
                    };
                    // It isn't passed on any more either.
                    self.lines.ended(lease);
                    return Err(lost(lease, at));
                }
                // Setting the time twice is setting it once.
                Err(Error::UnknownOutcome { .. }) if Instant::now() < give_up => {
                    sleep(backoff.next_delay()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn release(&self, keys: KeySet, owner: Option<OwnerId>) -> Result<bool> {
        self.open()?;
        let operation = self.lines.store().operations.release(&keys, owner.as_ref());
        let mut reply = self.call(operation).await?;
        Ok(reply.integer().map_err(self.failed())? == 1)
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        let standing = self.lines.end(lease);
        let give_up = Instant::now() + self.patience;
        let mut backoff = Backoff::default();
        let mut unknown = None;
        loop {
            match self.lines.store().release_lease(lease, &standing).await {
                Err(error @ Error::UnknownOutcome { .. }) if Instant::now() < give_up => {
                    unknown = Some(error);
                    sleep(backoff.next_delay()).await;
                }
                Err(error @ Error::Lost { .. }) => {
                    self.lines.ended(lease);
                    // The earlier try, whose answer was lost, may have been the one that freed it.
                    return Err(unknown.unwrap_or(error));
                }
                Ok(()) => {
                    self.lines.ended(lease);
                    return Ok(());
                }
                Err(error) => {
                    self.lines.abandoned(lease);
                    let closed = self.lines.is_closed().then(|| Error::closed(&self.id));
                    return Err(closed.or(unknown).unwrap_or(error));
                }
            }
        }
    }

    async fn release_all(&self, scope: ReleaseScope) -> Result<u64> {
        self.open()?;
        survey::release_all(self.lines.store(), &scope).await.map_err(self.failed())
    }

    fn wait_locking_timeout(&self) -> Duration {
        self.wait_locking_timeout
    }

    /// Passes a guard's key on to the next of this process who waits for it; else it takes I/O.
    fn release_now(&self, lease: &Lease) -> Option<Result<()>> {
        self.lines.pass_on(lease).then_some(Ok(()))
    }

    async fn inspect(&self, key: &LockKey) -> Result<Option<LockInfo>> {
        self.open()?;
        let found = survey::inspect(self.lines.store(), vec![key.clone()]).await;
        Ok(found.map_err(self.failed())?.pop().map(|found| self.named(found)))
    }

    async fn list(&self) -> Result<Vec<LockInfo>> {
        self.open()?;
        let found = survey::list(self.lines.store()).await.map_err(self.failed())?;
        Ok(found.into_iter().map(|found| self.named(found)).collect())
    }

    async fn close(&self) -> Result<()> {
        let taken_back = timeout(CLOSING, self.lines.close()).await;
        self.listener.abort();
        self.connection.close().await;
        taken_back.map_err(|_| {
            Error::unavailable(&self.id, "what was asked for couldn't be taken back in time")
        })
    }
}

/// The connections live until they are ended.
impl Drop for RedisProvider {
    fn drop(&mut self) {
        let (lines, connection) = (Arc::clone(&self.lines), self.connection.clone());
        self.listener.abort();
        self.runtime.spawn(async move {
            // What is being given back is let finish.
            let _ = timeout(CLOSING, lines.close()).await;
            connection.close().await;
        });
    }
}

impl fmt::Debug for RedisProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisProvider").field("id", &self.id).finish_non_exhaustive()
    }
}

fn lost(lease: &Lease, at: usize) -> Error {
    let key = lease.keys()[at.min(lease.keys().len() - 1)].key.clone();
    Error::lost(&lease.provider, key, LossReason::Expired)
}

/// What this server adds to what every server promises.
fn capabilities(settings: &Settings) -> Capabilities {
    if let Some(policy) = settings.get("maxmemory-policy").filter(|policy| *policy != "noeviction")
    {
        tracing::warn!(%policy, "the Redis server's `maxmemory-policy` may evict locks that are held; set it to `noeviction`");
    }
    if settings.is("appendonly", "yes") && settings.is("appendfsync", "always") {
        CAPABILITIES.with(Capability::SurvivesRestart)
    } else {
        CAPABILITIES
    }
}
