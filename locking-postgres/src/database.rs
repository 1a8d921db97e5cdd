use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use locking_core::{Error, OwnerId, ProviderId, Result, WithCauses};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::{Client, Error as DriverError, Row};

use crate::connect::Connector;
use crate::failure::Failure;
use crate::lent::Lent;
use crate::migrate;
use crate::settings::Settings;
use crate::statement::{OwnValues, Statement, Statements, Values};

/// Where the functions are, and the connections to call them over.
///
/// A connection is never given back to the pool with something under way on it, whoever is dropped:
/// every call runs in a task of its own, or goes on in one.
pub(crate) struct Database {
    pool: Pool,
    /// How many of them calls have at most.
    pub(crate) connections: usize,
    /// Half the connections of a pool that is the application's: more are never asked for, however much there
    /// is to do. `None` for a pool of our own.
    share: Option<Arc<Semaphore>>,
    /// Reaches the same server.
    connector: Connector,
    pub(crate) statements: Statements,
    /// Whether a pooler lies between, which keeps no prepared statements.
    pooled: bool,
    pub(crate) command_timeout: Duration,
    /// Of how many keys one statement takes the guards at most.
    pub(crate) most: i32,
    pub(crate) runtime: Handle,
}

impl Database {
    pub(crate) fn new(
        pool: OurPool,
        connector: Connector,
        statements: Statements,
        pooled: bool,
        command_timeout: Duration,
    ) -> Self {
        let runtime = Handle::current();
        let (pool, connections, share) = match pool {
            OurPool::Own => {
                let pool = connector.pool();
                let all = pool.status().max_size;
                (pool, all, None)
            }
            OurPool::Of(application) => {
                let half = (application.status().max_size / 2).max(1);
                (application, half, Some(Arc::new(Semaphore::new(half))))
            }
        };
        Self {
            pool,
            connections,
            share,
            connector,
            statements,
            pooled,
            command_timeout,
            most: 1,
            runtime,
        }
    }

    /// The same, for the server that there is.
    ///
    /// No statement takes more guards than half the locks that the server reserves for each connection: so
    /// all connections together leave its lock table half empty.
    pub(crate) async fn prepare(self, id: &ProviderId) -> Result<(Self, Settings)> {
        let settings = self.look(id, async |client| Settings::of(client, id).await).await?;
        let most = (settings.locks_per_connection / 2).max(1);
        Ok((Self { most, ..self }, settings))
    }

    /// Whether what is called is there.
    pub(crate) async fn check(&self, id: &ProviderId, schema: &str) -> Result<()> {
        self.look(id, async |client| migrate::check(id, client, schema).await).await
    }

    /// Asks for what changes nothing.
    async fn look<T>(
        &self,
        id: &ProviderId,
        asked: impl AsyncFnOnce(&Client) -> Result<T>,
    ) -> Result<T> {
        let connection = self.connection().await.map_err(|failure| failure.into_error(id))?;
        let seen = timeout(self.command_timeout, connection.during(asked(&connection))).await;
        let seen = seen.unwrap_or_else(|_| Err(Failure::unanswered().into_error(id)));
        // Another one may answer.
        if seen.as_ref().is_err_and(|error| !matches!(error, Error::Configuration(_))) {
            drop(connection.take());
        }
        seen
    }

    /// Opens the connections of an own pool, and has the server compile on each what is called there: what
    /// is asked for first needn't wait for that.
    pub(crate) async fn rehearse(self: &Arc<Self>) {
        if self.share.is_some() {
            return;
        }
        let mut opening = JoinSet::new();
        for _ in 0..self.pool.status().max_size {
            let database = Arc::clone(self);
            opening.spawn_on(
                async move {
                    let connection = Lent::new(database.pool.get().await.ok()?, None);
                    let rehearsal = connection.during(database.rehearse_on(&connection));
                    match timeout(database.command_timeout, rehearsal).await {
                        // Kept until all are open: else one would be opened, and given out to each.
                        Ok(Ok(())) => Some(connection),
                        // It may be in the middle of the rehearsal's transaction, and stay there.
                        _ => {
                            drop(connection.take());
                            None
                        }
                    }
                },
                &self.runtime,
            );
        }
        let mut open = Vec::new();
        while let Some(opened) = opening.join_next().await {
            open.push(opened);
        }
    }

    async fn rehearse_on(&self, connection: &Lent) -> Result<(), Failure> {
        let rehearsal = self.statements.rehearsal.replace("KEY", OwnerId::fresh().as_str());
        let rehearsed = connection.batch_execute(&rehearsal).await.map_err(Failure::from);
        rehearsed.inspect_err(|failure| {
            tracing::debug!(error = %WithCauses::of(failure), "what is called can't be rehearsed");
        })?;
        if self.pooled {
            return Ok(());
        }
        for statement in self.statements.frequent() {
            // What can't be prepared now can't be later, and says so.
            let _ = connection.prepare_typed_cached(&statement.text, statement.types).await;
        }
        Ok(())
    }

    /// For how many milliseconds a statement waits for a guard: less than we wait for the statement.
    pub(crate) fn patience(&self) -> i32 {
        i32::try_from(self.command_timeout.as_millis() * 3 / 4).unwrap_or(i32::MAX).max(1)
    }

    /// Calls a function, whatever becomes of the caller: a future that is dropped leaves open whether it was
    /// called.
    pub(crate) async fn call(
        self: &Arc<Self>,
        statement: impl FnOnce(&Statements) -> &Statement + Send + 'static,
        values: OwnValues,
    ) -> Result<Vec<Row>, Failure> {
        let database = Arc::clone(self);
        let called = self.runtime.spawn(async move {
            let connection = database.connection().await?;
            let values: Vec<_> = values.iter().map(|value| &**value as _).collect();
            database.run(connection, statement(&database.statements), &values).await
        });
        called.await.unwrap_or_else(|_| Err(Failure::cut_off()))
    }

    /// A connection of the pool.
    pub(crate) async fn connection(&self) -> Result<Lent, Failure> {
        let connection = async {
            let share = match &self.share {
                Some(share) => Arc::clone(share).acquire_owned().await.ok(),
                None => None,
            };
            Ok(Lent::new(self.pool.get().await?, share))
        };
        match timeout(self.command_timeout, connection).await {
            Ok(connection) => connection,
            Err(_) => Err(Failure::not_connected_in_time()),
        }
    }

    /// Calls a function, within what goes on whatever becomes of the caller.
    pub(crate) async fn run(
        &self,
        connection: Lent,
        statement: &Statement,
        values: Values<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let asked = connection.during(self.send(&connection, statement, values));
        match timeout(self.command_timeout, asked).await {
            Ok(answer) => {
                let is_spoiled = answer.as_ref().is_err_and(Failure::is_of_the_session);
                if is_spoiled || connection.is_closed() {
                    drop(connection.take());
                }
                answer
            }
            Err(_) => {
                self.abandon(connection);
                Err(Failure::late())
            }
        }
    }

    async fn send(
        &self,
        connection: &Lent,
        statement: &Statement,
        values: Values<'_>,
    ) -> Result<Vec<Row>, Failure> {
        if self.pooled {
            let values: Vec<_> =
                values.iter().copied().zip(statement.types.iter().cloned()).collect();
            return Ok(connection.query_typed(&statement.text, &values).await?);
        }
        // Not sent before it is prepared.
        let prepared = connection.prepare_typed_cached(&statement.text, statement.types).await;
        let prepared = prepared.map_err(Failure::not_connected)?;
        let answer: Result<_, DriverError> = connection.query(&prepared, values).await;
        Ok(answer?)
    }

    /// Ends a connection on which something is under way for too long: it must not go on holding guards.
    /// A pooler ends what its client left; it isn't asked to cancel, of which PgBouncer 1.18 can crash.
    fn abandon(&self, connection: Lent) {
        let client = connection.take();
        if self.pooled {
            return;
        }
        let connector = self.connector.clone();
        self.runtime.spawn(async move {
            if let Err(failure) = connector.cancel(&client).await {
                let error = WithCauses::of(&failure);
                tracing::debug!(%error, "a statement that takes too long couldn't be cancelled");
            }
        });
    }

    pub(crate) fn close(&self) {
        if self.share.is_none() {
            self.pool.close();
        }
    }
}

/// Whose pool it is over which statements go.
pub(crate) enum OurPool {
    /// Ours alone.
    Own,
    /// This one of the application's.
    Of(Pool),
}
