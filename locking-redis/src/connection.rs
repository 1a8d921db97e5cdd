use std::future::poll_fn;
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fred::clients::{Client, SubscriberClient};
use fred::error::{Error as DriverError, ErrorKind};
use fred::interfaces::ClientLike;
use fred::types::config::{Config, ReconnectPolicy, UnresponsiveConfig};
use fred::types::{Builder, ClusterHash, CustomCommand, Value};
use locking_core::{BoxError, ConfigurationError, Error, ProviderId, Result};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use crate::failure::{Cause, Failure};
use crate::options::{ConnectionOptions, RedisOptions, Secret};

/// The longest `command_timeout`.
const LONGEST_COMMAND: Duration = Duration::from_secs(60);

/// For how long a close waits until both have ended.
const LEAVING: Duration = Duration::from_secs(1);

/// How many messages of the server may wait to be read. Where that isn't enough, every line asks again.
const MESSAGES: usize = 16_384;

/// The two connections of a client: one for commands, one on which the server tells.
#[derive(Clone)]
pub(crate) struct Connection {
    id: ProviderId,
    pub(crate) commands: Client,
    pub(crate) notices: SubscriberClient,
    pub(crate) command_timeout: Duration,
    /// When a command was last answered, or a new connection asked for.
    answered: Arc<Mutex<Instant>>,
    /// When the server last turned out to be a replica.
    refused: Arc<Mutex<Option<Instant>>>,
    /// The driver's tasks, which go on by themselves: connecting again, for as long as nobody ends them.
    tasks: Arc<Mutex<Vec<AbortHandle>>>,
    runtime: Handle,
}

impl Connection {
    /// Connects both.
    pub(crate) async fn open(id: &ProviderId, options: &RedisOptions) -> Result<Starting> {
        let builder = builder(options)?;
        let refused = |error: DriverError| Error::unavailable(id, Box::new(error) as BoxError);
        let connection = Self {
            id: id.clone(),
            commands: builder.build().map_err(refused)?,
            notices: builder.build_subscriber_client().map_err(refused)?,
            command_timeout: options.redis_options.command_timeout,
            answered: Arc::new(Mutex::new(Instant::now())),
            refused: Arc::default(),
            tasks: Arc::default(),
            runtime: Handle::current(),
        };
        let connection = Starting(Some(connection));
        let opened = async {
            connection.connect(&connection.commands).await?;
            connection.connect(&connection.notices).await
        };
        let limit = options.redis_options.connect_timeout.saturating_mul(2);
        match timeout(limit, opened).await {
            Ok(Ok(())) => Ok(connection),
            Ok(Err(error)) => {
                connection.give_up().await;
                Err(refused(error))
            }
            Err(_) => {
                connection.give_up().await;
                Err(Error::unavailable(id, "the Redis server didn't answer in time"))
            }
        }
    }

    /// Sends a command once the server is connected.
    pub(crate) async fn send(
        &self,
        command: &'static str,
        args: Vec<Value>,
    ) -> Result<Value, Failure> {
        if !self.commands.is_connected() {
            self.connected().await?;
        }
        let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
        let sent = Instant::now();
        let commands = self.commands.clone();
        // In a box: the driver's future has 7 KB, and whoever only waits for a turn, or for a key, would
        // be that large too, several times over.
        let answer = Box::pin(async move { commands.custom(command, args).await });
        let answer = ToItsEnd { answer: Some(answer), runtime: &self.runtime }.await;
        match &answer {
            Ok(_) => *self.answered() = Instant::now(),
            Err(error) if *error.kind() == ErrorKind::Timeout => self.unanswered(sent),
            Err(_) => {}
        }
        Ok(answer?)
    }

    /// Asks for what not every server says, nor says to everyone: what it says, or how it refuses.
    pub(crate) async fn ask(
        &self,
        command: &'static str,
        args: Vec<Value>,
    ) -> Result<Result<Value, Arc<Cause>>, Failure> {
        match self.send(command, args).await {
            Err(Failure::Refused(cause)) if matches!(*cause, Cause::Answered(_)) => Ok(Err(cause)),
            answer => answer.map(Ok),
        }
    }

    /// A command that was sent then has no answer. If no other has had one since, the connection may be
    /// dead without a word, and is made anew. The driver's own look at this waits for a moment at which
    /// nothing was sent for long.
    fn unanswered(&self, sent: Instant) {
        let mut answered = self.answered();
        if *answered > sent {
            return;
        }
        // The next one has its time.
        *answered = Instant::now();
        drop(answered);
        let commands = self.commands.clone();
        self.runtime.spawn(async move {
            if let Err(error) = commands.force_reconnection().await {
                tracing::debug!(%error, "the Redis server can't be reached");
            }
        });
    }

    /// The server is a replica now, and its name may be another's: both connections are made anew, as long as that is
    /// so, now and then.
    pub(crate) fn is_read_only(&self) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.is_some_and(|last| last.elapsed() < self.command_timeout) {
            return;
        }
        *refused = Some(Instant::now());
        drop(refused);
        tracing::warn!(
            provider = %self.id,
            "the Redis server is a replica, connecting anew to whom its name is now"
        );
        let (commands, notices) = (self.commands.clone(), self.notices.clone());
        self.runtime.spawn(async move {
            let again = tokio::join!(commands.force_reconnection(), notices.force_reconnection());
            if let Err(error) = again.0.and(again.1) {
                tracing::debug!(%error, "the Redis server can't be reached");
            }
        });
    }

    fn answered(&self) -> MutexGuard<'_, Instant> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the connection to be made again: a command handed to the driver before that might be
    /// sent much later, when nobody wants it any more.
    async fn connected(&self) -> Result<(), Failure> {
        let again = async {
            while !self.commands.is_connected() {
                // It tells of the next attempt only, and of failed ones too.
                let _ = timeout(Duration::from_millis(50), self.commands.wait_for_connect()).await;
                tokio::task::yield_now().await;
            }
        };
        timeout(self.command_timeout, again).await.map_err(|_| Failure::not_connected())
    }

    /// Connects one of them.
    async fn connect(&self, client: &impl ClientLike) -> Result<(), DriverError> {
        let (mut connected, mut has_begun) = (pin!(client.wait_for_connect()), false);
        poll_fn(|context| {
            // It hears of nothing before it is polled.
            let polled = connected.as_mut().poll(context);
            if !std::mem::replace(&mut has_begun, true) {
                self.tasks().push(client.connect().abort_handle());
            }
            polled
        })
        .await
    }

    /// Ends both, in good order where that is possible: what is under way has its time, though not all of it is
    /// waited for. A server that hangs is left without, and one that isn't connected yet is connected no more.
    pub(crate) async fn close(&self) {
        let (commands, notices) = (self.commands.clone(), self.notices.clone());
        let (tasks, limit) = (std::mem::take(&mut *self.tasks()), self.command_timeout);
        let ending = self.runtime.spawn(async move {
            // Who is gone already has nothing to say.
            let quit = async { tokio::join!(commands.quit(), notices.quit()) };
            let _ = timeout(limit.max(LEAVING), quit).await;
            tasks.iter().for_each(AbortHandle::abort);
        });
        let _ = timeout(LEAVING, ending).await;
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<AbortHandle>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A command that was handed to the driver. Whoever drops this leaves it to a task: the driver never sends a
/// command whose time is over, and that it notes only where it goes on. Else what lies with it while the
/// connection is lost would be sent whenever that is back, when nobody takes it back any more.
struct ToItsEnd<'a, F: Future<Output: Send> + Send + 'static> {
    answer: Option<Pin<Box<F>>>,
    runtime: &'a Handle,
}

impl<F: Future<Output: Send> + Send + 'static> Future for ToItsEnd<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(answer) = &mut self.answer else { return Poll::Pending };
        let answer = ready!(answer.as_mut().poll(context));
        self.answer = None;
        Poll::Ready(answer)
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for ToItsEnd<'_, F> {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            self.runtime.spawn(answer);
        }
    }
}

/// A connection whose provider isn't made yet. When that is given up, so is the connection: the driver
/// by itself would keep it, and make it again without end.
pub(crate) struct Starting(Option<Connection>);

impl Starting {
    /// The provider is made.
    pub(crate) fn started(mut self) -> Connection {
        self.0.take().expect("it is started once")
    }

    /// The provider can't be made: ends both, in good order where that is possible.
    pub(crate) async fn give_up(mut self) {
        self.close().await;
        self.0 = None;
    }
}

impl Deref for Starting {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0.as_ref().expect("it isn't started yet")
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            let runtime = connection.runtime.clone();
            runtime.spawn(async move { connection.close().await });
        }
    }
}

fn builder(options: &RedisOptions) -> Result<Builder, ConfigurationError> {
    // Also where they were made without being read.
    options.check()?;
    let ConnectionOptions { username, password, connect_timeout, command_timeout, .. } =
        &options.redis_options;
    // TLS is set up below: the driver's own would take the platform's certificates in any case.
    let (plain, tls) = match options.url().strip_prefix("rediss://") {
        Some(rest) => (format!("redis://{rest}"), true),
        None => (options.url().to_owned(), false),
    };
    let mut config = Config::from_url_centralized(&plain).map_err(|_| {
        ConfigurationError::option("redis_url", "it isn't the URL of a Redis server: write `redis://[[user]:password@]host[:port][/database]`, with what is special in a password percent-encoded")
    })?;
    config.fail_fast = true;
    config.username = username.clone().filter(|name| !name.is_empty()).or(config.username);
    config.password = password.as_ref().map(|it| Secret::expose(it).to_owned()).or(config.password);
    if config.username.is_some() {
        // Without one the driver doesn't log in at all, and would be the server's default user.
        config.password.get_or_insert_default();
    }
    if tls {
        #[cfg(feature = "tls")]
        {
            config.tls = Some(crate::tls::config(&options.redis_options.tls)?);
        }
    }
    let (connect_timeout, command_timeout) = (*connect_timeout, *command_timeout);
    for (name, limit) in
        [("connect_timeout", connect_timeout), ("command_timeout", command_timeout)]
    {
        // To the driver, zero is no limit at all.
        if limit.is_zero() {
            let problem = "it has to be longer than zero";
            return Err(ConfigurationError::option(format!("redis_options.{name}"), problem));
        }
    }
    if command_timeout > LONGEST_COMMAND {
        let problem = "it has to be a minute at most";
        return Err(ConfigurationError::option("redis_options.command_timeout", problem));
    }
    let reconnection = &options.redis_options.reconnection;
    let millis = |delay: Duration| u32::try_from(delay.as_millis()).unwrap_or(u32::MAX).max(1);
    let (least, most) = (millis(reconnection.minimum_delay), millis(reconnection.maximum_delay));
    let mut builder = Builder::from_config(config);
    builder
        .set_policy(ReconnectPolicy::new_exponential(0, least, most.max(least), 2))
        .with_performance_config(|performance| {
            performance.default_command_timeout = command_timeout;
            performance.broadcast_channel_capacity = MESSAGES;
        })
        .with_connection_config(|connection| {
            connection.connection_timeout = connect_timeout;
            connection.internal_command_timeout = command_timeout;
            // A command that was sent is never sent again behind our back: it may have been carried out.
            connection.max_command_attempts = 1;
            connection.reconnect_on_auth_error = true;
            connection.tcp.nodelay = Some(true);
            // Nor by the system, when its connection was given up: what that still had to send it would send
            // for minutes.
            connection.tcp.linger = Some(Duration::ZERO);
            // A server that says nothing for so long is connected anew.
            connection.unresponsive = UnresponsiveConfig {
                max_timeout: Some(command_timeout * 2),
                interval: command_timeout.clamp(Duration::from_millis(100), Duration::from_secs(1))
                    / 2,
            };
        });
    Ok(builder)
}
