use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Connect, Manager, ManagerConfig, Pool, QueueMode, RecyclingMethod, Runtime,
};
use locking_core::ConfigurationError;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, Error as DriverError, NoTls};

use crate::connection::Connection;
use crate::failure::Failure;
use crate::options::{PostgresOptions, TlsMode};
#[cfg(feature = "tls")]
use crate::tls::Rustls;

/// What every session of ours starts with: the functions count on statements that see what was
/// committed before them, and on commits that outlive a crash once they are answered, whatever the
/// role's or the database's default is.
const SESSION: &str = r"-c default_transaction_isolation=read\ committed -c synchronous_commit=on";

/// What a session is called where the server lists them, unless the address says it.
const APPLICATION: &str = "locking";

/// Opens connections to the server, encrypted as the options say.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Arc<Config>,
    security: Security,
    pool_size: usize,
    connect_timeout: Duration,
    command_timeout: Duration,
}

impl Connector {
    /// Nothing is sent; only the files of certificates are read.
    ///
    /// # Errors
    ///
    /// If the options don't go together, or a file of theirs can't be read.
    pub(crate) fn new(options: &PostgresOptions) -> Result<Self, ConfigurationError> {
        options.check()?;
        let config = config(options);
        // Hosts are tried one after the other.
        let hosts = u32::try_from(config.get_hosts().len()).unwrap_or(u32::MAX);
        Ok(Self {
            config: Arc::new(config),
            security: Security::new(options)?,
            pool_size: options.pool.max_size,
            connect_timeout: options.connect_timeout.saturating_mul(hosts.max(1)),
            command_timeout: options.command_timeout,
        })
    }

    /// A connection of its own. Whoever asked for it polls it.
    pub(crate) async fn session(&self) -> Result<(Client, Connection), Failure> {
        match timeout(self.connect_timeout, self.security.connect(&self.config)).await {
            Ok(opened) => opened.map_err(Failure::not_connected),
            Err(_) => Err(Failure::not_connected_in_time()),
        }
    }

    /// How long an answer may take.
    pub(crate) const fn command_timeout(&self) -> Duration {
        self.command_timeout
    }

    /// A pool of connections. None is opened yet, and none is tried before it is given out: whether a
    /// connection still works is seen by what is sent over it.
    pub(crate) fn pool(&self) -> Pool {
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect((*self.config).clone(), self.security.clone(), config);
        Pool::builder(manager)
            .max_size(self.pool_size)
            // The one that was used last: its backend has everything at hand.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(self.command_timeout))
            .create_timeout(Some(self.connect_timeout))
            .recycle_timeout(Some(self.command_timeout))
            .build()
            .expect("there is a runtime for its timeouts")
    }

    /// Asks the server to cancel what this client's connection does. It may be done already, and
    /// nobody tells.
    pub(crate) async fn cancel(&self, client: &Client) -> Result<(), Failure> {
        match timeout(self.connect_timeout, self.security.cancel(client)).await {
            Ok(asked) => asked.map_err(Failure::not_connected),
            Err(_) => Err(Failure::not_connected_in_time()),
        }
    }
}

/// What the address says, and what we add to it.
fn config(options: &PostgresOptions) -> Config {
    let mut config = options.address().config.clone();
    config.ssl_mode(match options.tls.mode() {
        TlsMode::Disable => SslMode::Disable,
        TlsMode::Prefer => SslMode::Prefer,
        TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
    });
    if config.get_application_name().is_none() {
        config.application_name(APPLICATION);
    }
    // A pooler refuses what it doesn't know, and shares its sessions anyway.
    if !options.pgbouncer {
        config.options(match config.get_options() {
            Some(theirs) => format!("{theirs} {SESSION}"),
            None => SESSION.to_owned(),
        });
    }
    config.connect_timeout(options.connect_timeout);
    // A server that is gone without a word is noticed while nothing is sent as well.
    let patience = options.command_timeout.saturating_mul(2);
    config.tcp_user_timeout(patience);
    config.keepalives(true);
    config.keepalives_idle(patience.max(KEEPALIVE));
    config.keepalives_interval((patience / 3).max(KEEPALIVE));
    config.keepalives_retries(3);
    config
}

/// The system counts in whole seconds.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// Whether connections are encrypted.
#[derive(Clone)]
enum Security {
    /// Never.
    Plain,
    /// If the server does that, or always: it depends on the mode in the driver's configuration.
    #[cfg(feature = "tls")]
    Encrypted(Rustls),
}

impl Security {
    fn new(options: &PostgresOptions) -> Result<Self, ConfigurationError> {
        match options.tls.mode() {
            TlsMode::Disable => Ok(Self::Plain),
            #[cfg(feature = "tls")]
            _ => crate::tls::rustls(&options.tls).map(Self::Encrypted),
            // A mode that asks for more was refused.
            #[cfg(not(feature = "tls"))]
            _ => Ok(Self::Plain),
        }
    }

    async fn connect(&self, config: &Config) -> Result<(Client, Connection), DriverError> {
        match self {
            Self::Plain => {
                let (client, connection) = config.connect(NoTls).await?;
                Ok((client, Connection::new(connection)))
            }
            #[cfg(feature = "tls")]
            Self::Encrypted(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                Ok((client, Connection::new(connection)))
            }
        }
    }

    async fn cancel(&self, client: &Client) -> Result<(), DriverError> {
        let token = client.cancel_token();
        match self {
            Self::Plain => token.cancel_query(NoTls).await,
            #[cfg(feature = "tls")]
            Self::Encrypted(tls) => token.cancel_query(tls.clone()).await,
        }
    }
}

type Opening<'a> =
    Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), DriverError>> + Send + 'a>>;

impl Connect for Security {
    fn connect(&self, config: &Config) -> Opening<'_> {
        let config = config.clone();
        Box::pin(async move {
            let (client, connection) = Self::connect(self, &config).await?;
            Ok((client, tokio::spawn(connection.run())))
        })
    }
}
