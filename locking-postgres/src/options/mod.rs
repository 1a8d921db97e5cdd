mod address;
mod pool;
mod secret;
mod takeover;
mod tls;
mod written;

use std::fmt;
use std::time::Duration;

use locking_core::ConfigurationError;
use serde::Deserialize;

pub(crate) use self::address::Address;
pub use self::pool::PoolOptions;
pub use self::takeover::TakeoverOptions;
pub use self::tls::{TlsMode, TlsOptions};
pub(crate) use self::written::Written;

/// The longest `command_timeout`.
const LONGEST_COMMAND: Duration = Duration::from_secs(60);

/// What can be set in a configuration's `options`.
///
/// There the server is said either by `url`, as in [`new`](Self::new), or by `host`, `port` (default:
/// 5432), `user` (default: the process's), `password` and `database` (default: the user's name); with
/// neither, by the environment's `DATABASE_URL`.
#[derive(Clone, Deserialize)]
#[serde(try_from = "Written")]
#[non_exhaustive]
pub struct PostgresOptions {
    /// Where the server is. A secret.
    address: Address,
    /// The schema with the tables and functions. Two providers with the same share their locks.
    /// Default: `locking`.
    schema: String,
    /// Whether connections are encrypted, and whose certificates are believed.
    pub tls: TlsOptions,
    /// The connections on which statements run.
    pub pool: PoolOptions,
    /// How long connecting may take, to each host of the address; longer than zero. Default: the
    /// address's `connect_timeout`, else 3 s.
    pub connect_timeout: Duration,
    /// How long a statement may take before its outcome counts as unknown, and how long it may wait for a
    /// connection of the pool before that; longer than zero, a minute at most. Default: 2 s.
    pub command_timeout: Duration,
    /// How long guards and jobs wait when they don't say. Default: 5 s.
    pub wait_locking_timeout: Duration,
    /// How soon what a dead process held is free.
    pub takeover: TakeoverOptions,
    /// Whether a pooler such as PgBouncer, which gives a client a session of the server's for one
    /// transaction only, lies between. Then nothing is kept in a session: waiters ask again at growing
    /// intervals instead of being told. Default: no.
    pub pgbouncer: bool,
    /// Whether the provider makes its tables when it is made, as `module.migrate()` does. It needs
    /// a user that may. Default: no.
    pub migrate_at_start: bool,
    /// How soon a waiter asks again behind a transaction pooler; then at growing intervals.
    /// Default: 5 ms.
    pub default_retry_interval: Duration,
    /// The longest of those intervals; not shorter than the first. Default: 200 ms.
    pub maximum_retry_interval: Duration,
}

impl PostgresOptions {
    /// The defaults, for this server: `postgres://[user[:password]@]host[:port][/database]`, or libpq's
    /// `host=… user=… password=… dbname=…`. In both, libpq's `sslmode`, `sslrootcert`, `sslcert` and
    /// `sslkey` are what [`tls`](Self::tls) is then.
    ///
    /// # Errors
    ///
    /// [`ConfigurationError::Option`] if it isn't the address of a PostgreSQL server. Nothing of it is
    /// quoted.
    pub fn new(url: impl AsRef<str>) -> Result<Self, ConfigurationError> {
        let (address, tls) =
            Address::parse(url.as_ref()).map_err(|problem| option("url", &problem))?;
        Ok(Self { tls, ..Self::at(address) })
    }

    /// The same with the tables and functions in this schema.
    ///
    /// # Errors
    ///
    /// [`ConfigurationError::Option`] unless it has 1 to 63 of `a` to `z`, `0` to `9` and `_`, doesn't
    /// begin with a digit, and not with `pg_`, which is the server's.
    pub fn with_schema(self, schema: impl Into<String>) -> Result<Self, ConfigurationError> {
        let schema = schema.into();
        check_schema(&schema).map_err(|problem| option("schema", problem))?;
        Ok(Self { schema, ..self })
    }

    /// The schema with the tables and functions.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Whether all of it goes together: everybody may have set any field.
    pub(crate) fn check(&self) -> Result<(), ConfigurationError> {
        for (name, duration) in [
            ("connect_timeout", self.connect_timeout),
            ("command_timeout", self.command_timeout),
            ("default_retry_interval", self.default_retry_interval),
        ] {
            if duration.is_zero() {
                return Err(option(name, "it has to be longer than zero"));
            }
        }
        if self.command_timeout > LONGEST_COMMAND {
            return Err(option("command_timeout", "it has to be a minute at most"));
        }
        if self.default_retry_interval > self.maximum_retry_interval {
            let problem = "it is longer than `maximum_retry_interval`";
            return Err(option("default_retry_interval", problem));
        }
        self.tls.check()?;
        self.pool.check()?;
        self.takeover.check()
    }

    fn at(address: Address) -> Self {
        let connect_timeout = address.config.get_connect_timeout().copied();
        Self {
            connect_timeout: connect_timeout.unwrap_or(Duration::from_secs(3)),
            address,
            schema: "locking".to_owned(),
            tls: TlsOptions::default(),
            pool: PoolOptions::default(),
            command_timeout: Duration::from_secs(2),
            wait_locking_timeout: Duration::from_secs(5),
            takeover: TakeoverOptions::default(),
            pgbouncer: false,
            migrate_at_start: false,
            default_retry_interval: Duration::from_millis(5),
            maximum_retry_interval: Duration::from_millis(200),
        }
    }
}

/// The address is a secret.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("address", &"…")
            .field("schema", &self.schema)
            .field("tls", &self.tls)
            .field("pool", &self.pool)
            .field("connect_timeout", &self.connect_timeout)
            .field("command_timeout", &self.command_timeout)
            .field("wait_locking_timeout", &self.wait_locking_timeout)
            .field("takeover", &self.takeover)
            .field("pgbouncer", &self.pgbouncer)
            .field("migrate_at_start", &self.migrate_at_start)
            .field("default_retry_interval", &self.default_retry_interval)
            .field("maximum_retry_interval", &self.maximum_retry_interval)
            .finish()
    }
}

fn check_schema(schema: &str) -> Result<(), &'static str> {
    let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if schema.is_empty() || schema.len() > 63 {
        return Err("a schema's name has 1 to 63 bytes");
    }
    if !schema.bytes().all(of_name) || schema.starts_with(|first: char| first.is_ascii_digit()) {
        return Err("a schema's name has only `a` to `z`, `0` to `9` and `_`, no digit first");
    }
    if schema.starts_with("pg_") {
        return Err("schemas that begin with `pg_` are the server's");
    }
    Ok(())
}

fn option(path: &str, problem: &str) -> ConfigurationError {
    ConfigurationError::option(path, problem)
}
