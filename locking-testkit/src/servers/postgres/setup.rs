use super::handle::Postgres;
use crate::servers::error::ServerError;
use crate::servers::start;

/// How a PostgreSQL server is set up. Without more, what is committed outlives the server's processes,
/// but not the machine.
///
/// ```no_run
/// # async fn run() -> Result<(), locking_testkit::servers::ServerError> {
/// use locking_testkit::servers::PostgresSetup;
///
/// let postgres = PostgresSetup::new().max_connections(20).setting("log_statement", "all").start().await?;
/// assert_eq!(postgres.command("SHOW max_connections").await?, "20");
/// postgres.kill().await?;
/// postgres.start_again().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
#[must_use = "a setup does nothing until it is started"]
pub struct PostgresSetup {
    pub(super) settings: Vec<(String, String)>,
    pub(super) durable: bool,
    pub(super) password: Option<String>,
    pub(super) tls: Option<Tls>,
}

/// A certificate and its key, as PEM texts.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl PostgresSetup {
    /// A server that doesn't wait for its disk: `fsync` and `full_page_writes` are off.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with a setting of the server's, such as `deadlock_timeout` and `100ms`. A later one
    /// goes before an earlier one of its name; none can be changed while the server runs.
    ///
    /// Addresses, ports and folders are not to be set. `shared_preload_libraries` has
    /// `pg_stat_statements`, which [`Postgres::commands`] needs.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same for this many connections; without, it is PostgreSQL's own 100. Three of them are
    /// for superusers, as tests mostly are.
    pub fn max_connections(self, most: u32) -> Self {
        self.setting("max_connections", &most.to_string())
    }

    /// The same, with every commit on disk before it is answered, as PostgreSQL does by itself.
    pub fn durable(self) -> Self {
        Self { durable: true, ..self }
    }

    /// The same with a password, which is asked for by SCRAM. It is part of
    /// [`url`](crate::servers::Server::url).
    pub fn password(self, password: &str) -> Self {
        Self { password: Some(password.to_owned()), ..self }
    }

    /// The same with TLS beside plain connections, on the same port: [`Postgres::tls_url`]. The
    /// certificate and its key are PEM texts; the certificate has to be valid for `127.0.0.1`.
    /// Clients need none.
    pub fn tls(self, certificate: &str, key: &str) -> Self {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Self { tls: Some(Tls { certificate, key }), ..self }
    }

    /// Starts a server that nobody else uses: in a container or as a process, whatever
    /// `LOCKING_TEST_POSTGRES_URL` says.
    ///
    /// # Errors
    ///
    /// - [`ServerError::NotToBeHad`] if there is neither, or if `LOCKING_TEST_SERVERS` is `env`.
    /// - [`ServerError::Failed`] or [`ServerError::TimedOut`] if it doesn't start.
    /// - [`ServerError::Variable`] if `LOCKING_TEST_SERVERS` says something unknown.
    pub async fn start(self) -> Result<Postgres, ServerError> {
        start::own(&self).await
    }

    /// The server's arguments, but for those that depend on where it runs.
    pub(super) fn arguments(&self) -> Vec<String> {
        // Counts since the start, as every other count of a server's.
        let counts = ["shared_preload_libraries=pg_stat_statements", "pg_stat_statements.save=off"];
        let unsafe_disk = ["fsync=off", "full_page_writes=off"];
        let unsafe_disk = unsafe_disk.iter().filter(|_| !self.durable);
        let ours = counts.iter().chain(unsafe_disk).map(|&setting| setting.to_owned());
        let theirs = self.settings.iter().map(|(name, value)| format!("{name}={value}"));
        ours.chain(theirs).flat_map(|setting| ["-c".to_owned(), setting]).collect()
    }
}

/// Without values: some are secrets.
impl std::fmt::Debug for PostgresSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.settings.iter().map(|(name, _)| name).collect();
        f.debug_struct("PostgresSetup").field("settings", &names).finish_non_exhaustive()
    }
}
