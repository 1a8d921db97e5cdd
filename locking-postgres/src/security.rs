use locking_core::ConfigurationError;
use tokio_postgres::{Client, Config, Error as DriverError, NoTls};

use crate::connection::Connection;
use crate::options::{PostgresOptions, TlsMode};
#[cfg(feature = "tls")]
use crate::tls::Rustls;

/// Whether connections are encrypted.
#[derive(Clone)]
pub(crate) enum Security {
    /// Never.
    Plain,
    /// If the server does that, or always: it depends on the mode in the driver's configuration.
    #[cfg(feature = "tls")]
    Encrypted(Rustls),
}

impl Security {
    pub(crate) fn new(options: &PostgresOptions) -> Result<Self, ConfigurationError> {
        match options.tls.mode() {
            TlsMode::Disable => Ok(Self::Plain),
            #[cfg(feature = "tls")]
            _ => crate::tls::rustls(&options.tls).map(Self::Encrypted),
            // A mode that asks for more was refused.
            #[cfg(not(feature = "tls"))]
            _ => Ok(Self::Plain),
        }
    }

    pub(crate) async fn connect(
        &self,
        config: &Config,
    ) -> Result<(Client, Connection), DriverError> {
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

    pub(crate) async fn cancel(&self, client: &Client) -> Result<(), DriverError> {
        let token = client.cancel_token();
        match self {
            Self::Plain => token.cancel_query(NoTls).await,
            #[cfg(feature = "tls")]
            Self::Encrypted(tls) => token.cancel_query(tls.clone()).await,
        }
    }
}
