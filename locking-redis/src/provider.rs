use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fred::types::Value;
use locking_core::line::{ClientId, Lines};
use locking_core::{
    AcquireRequest, Capabilities, Error, Expiry, Grant, KeySet, Lease, LockInfo, LockKey,
    LockingProvider, OwnerId, ProviderId, ReleaseScope, Result, async_trait,
};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::connection::Connection;
use crate::failure::Failure;
use crate::operation::Operation;
use crate::options::RedisOptions;
use crate::pipeline::Pipeline;
use crate::reply::Reply;
use crate::server::Server;
use crate::settings::Settings;
use crate::store::Store;
use crate::{listener, survey};

/// For how long a close waits for what is still being taken back.
const CLOSING: Duration = Duration::from_secs(1);

/// For how long the connections are there after that at most: the lines give up sooner, but for what a caller keeps
/// and doesn't poll.
const UNDOING: Duration = Duration::from_secs(330);

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
    listener: JoinHandle<()>,
    runtime: Handle,
}

impl RedisProvider {
    /// Connects to the server. The provider's tasks run on the runtime that polls this.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`] if the server isn't there, doesn't answer, or refuses the credentials.
    /// - [`Error::UnknownOutcome`] if it stops answering half way.
    /// - [`Error::Configuration`] if an option won't do, or the server: one older than Redis 7.0, a
    ///   node of a cluster, or a Sentinel.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Cancellation safety
    ///
    /// Dropped at any await point, the connections that were made are ended in the background.
    pub async fn connect(id: ProviderId, options: RedisOptions) -> Result<Self> {
        let runtime = Handle::current();
        let connection = Connection::open(&id, &options).await?;
        let client = ClientId::fresh();
        let namespace = options.namespace();
        let pipeline = Pipeline::new(connection.clone(), namespace, runtime.clone());
        let channel = Value::from(format!("{namespace}\0c{client}"));
        let (server, settings) = match begin(&id, &pipeline, &channel).await {
            Ok(found) => found,
            Err(error) => {
                connection.give_up().await;
                return Err(error);
            }
        };
        server.warn(&id);
        settings.tell(&id);
        let capabilities = settings.capabilities();
        let store = Store::new(id.clone(), client.clone(), pipeline, &options);
        let lines = Lines::new(store, client.clone(), runtime.clone());
        let connection = connection.started();
        let listening = listener::listen(connection.clone(), channel, Arc::downgrade(&lines));
        let listener = runtime.spawn(listening);
        let server_version = server.version.as_ref().map(tracing::field::display);
        tracing::info!(
            provider = %id, server_version, %capabilities, client_id = %client,
            "Connection to Redis in \"{id}\" provider established"
        );
        Ok(Self {
            id,
            lines,
            connection,
            capabilities,
            wait_locking_timeout: options.wait_locking_timeout,
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
        self.lines.extend(lease, expiry).await
    }

    async fn release(&self, keys: KeySet, owner: Option<OwnerId>) -> Result<bool> {
        self.open()?;
        let operation = self.lines.store().operations.release(&keys, owner.as_ref());
        let mut reply = self.call(operation).await?;
        Ok(reply.integer().map_err(self.failed())? == 1)
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        self.lines.release_lease(lease).await
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
        Ok(found
            .map_err(self.failed())?
            .pop()
            .map(|(info, origin)| self.lines.named(info, &origin)))
    }

    async fn list(&self) -> Result<Vec<LockInfo>> {
        self.open()?;
        let found = survey::list(self.lines.store()).await.map_err(self.failed())?;
        Ok(found.into_iter().map(|(info, origin)| self.lines.named(info, &origin)).collect())
    }

    async fn close(&self) -> Result<()> {
        let taken_back = timeout(CLOSING, self.lines.close()).await;
        self.listener.abort();
        if taken_back.is_ok() {
            self.connection.close().await;
        } else {
            self.runtime.spawn(close_later(Arc::clone(&self.lines), self.connection.clone()));
        }
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
        self.runtime.spawn(close_later(lines, connection));
    }
}

/// Looks at the server before anything is written there, and makes ready what calls need.
async fn begin(
    id: &ProviderId,
    pipeline: &Pipeline,
    channel: &Value,
) -> Result<(Server, Settings)> {
    let refused = |failure: Failure| failure.into_error(id);
    let connection = &pipeline.connection;
    let server = Server::of(connection).await.map_err(refused)?;
    server.check()?;
    pipeline.load().await.map_err(refused)?;
    let settings = Settings::of(connection).await.map_err(refused)?;
    listener::begin(connection, channel).await.map_err(refused)?;
    Ok((server, settings))
}

/// Ends the connections when all that was asked for is taken back, or can't be any more: the lines give that up some
/// time after a close.
async fn close_later(lines: Arc<Lines<Store>>, connection: Connection) {
    let _ = timeout(UNDOING, lines.close()).await;
    connection.close().await;
}

impl fmt::Debug for RedisProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisProvider").field("id", &self.id).finish_non_exhaustive()
    }
}
