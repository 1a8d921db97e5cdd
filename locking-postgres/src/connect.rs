use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::{
    Connect, Manager, ManagerConfig, Pool, QueueMode, RecyclingMethod, Runtime,
};
use locking_core::ConfigurationError;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, Error as DriverError};

use crate::connection::Connection;
use crate::failure::Failure;
use crate::hosts::{Hosts, notice_after};
use crate::options::{PostgresOptions, TlsMode};
use crate::security::Security;

/// What every session of ours starts with: the functions count on statements that see what was
/// committed before them, and on commits that outlive a crash once they are answered, whatever the
/// role's or the database's default is.
const SESSION: &str = r"-c default_transaction_isolation=read\ committed -c default_transaction_read_only=off -c synchronous_commit=on";

/// What a session is called where the server lists them, unless the address says it.
const APPLICATION: &str = "locking";

/// Opens connections to the server, encrypted as the options say.
#[derive(Clone)]
pub(crate) struct Connector {
    hosts: Hosts,
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
        let security = Security::new(options)?;
        let hosts = Hosts::new(config(options), security.clone(), options.connect_timeout);
        Ok(Self {
            connect_timeout: hosts.limit(),
            hosts,
            security,
            pool_size: options.pool.max_size,
            command_timeout: options.command_timeout,
        })
    }

    /// A connection of its own. Whoever asked for it polls it.
    pub(crate) async fn session(&self) -> Result<(Client, Connection), Failure> {
        match timeout(self.connect_timeout, self.hosts.connect()).await {
            Ok(opened) => opened.map_err(Failure::not_connected),
            Err(_) => Err(Failure::not_connected_in_time()),
        }
    }

    /// Finds the host that works: what a pool opens has less time than all of them may take.
    pub(crate) async fn find_host(&self) {
        if self.hosts.are_several() {
            // Where none does, whoever asks next hears why.
            let _ = self.session().await;
        }
    }

    /// The same, for connections of their own that outlive a network that is cut for so long.
    pub(crate) fn outliving(&self, cut: Duration) -> Self {
        Self { hosts: self.hosts.outliving(cut), ..self.clone() }
    }

    /// How long an answer may take.
    pub(crate) const fn command_timeout(&self) -> Duration {
        self.command_timeout
    }

    /// A pool of connections. None is opened yet, and none is tried before it is given out: whether a
    /// connection still works is seen by what is sent over it.
    pub(crate) fn pool(&self) -> Pool {
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let address = self.hosts.config().clone();
        let manager = Manager::from_connect(address, self.hosts.clone(), config);
        Pool::builder(manager)
            .max_size(self.pool_size)
            // The one that was used last: its backend has everything at hand.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(self.command_timeout))
            .create_timeout(Some(self.connect_timeout))
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
    notice_after(&mut config, options.command_timeout.saturating_mul(2));
    config
}

type Opening<'a> =
    Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), DriverError>> + Send + 'a>>;

/// To one of them, whatever the address: it has only the first.
impl Connect for Hosts {
    fn connect(&self, _: &Config) -> Opening<'_> {
        Box::pin(async move {
            let (client, connection) = Self::connect(self).await?;
            Ok((client, tokio::spawn(connection.run())))
        })
    }
}
