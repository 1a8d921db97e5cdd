use super::handle::Redis;
use crate::servers::error::ServerError;
use crate::servers::start;

/// How a Redis server is set up. Without more, it keeps nothing on disk.
///
/// ```no_run
/// # async fn run() -> Result<(), locking_testkit::servers::ServerError> {
/// use locking_testkit::servers::RedisSetup;
///
/// let redis = RedisSetup::new().durable().argument("maxmemory-policy", "noeviction").start().await?;
/// redis.kill().await?;
/// redis.start_again().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
#[must_use = "a setup does nothing until it is started"]
pub struct RedisSetup {
    pub(super) arguments: Vec<(String, String)>,
    pub(super) password: Option<String>,
    pub(super) files: Vec<(String, Vec<u8>)>,
    pub(super) tls: bool,
}

impl RedisSetup {
    /// A server that keeps nothing on disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with a line of `redis.conf`, such as `maxmemory-policy` and `noeviction`. `value` is
    /// the rest of the line: text with spaces that is one value stands in quotes. Mostly, a later
    /// line goes before an earlier one of its name.
    ///
    /// Ports, `bind` and `dir` are not to be set.
    pub fn argument(mut self, name: &str, value: &str) -> Self {
        self.arguments.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same, with every write on disk before it is answered: `appendonly yes` and
    /// `appendfsync always`.
    pub fn durable(self) -> Self {
        self.argument("appendonly", "yes").argument("appendfsync", "always")
    }

    /// The same with a password: `requirepass`. It is part of
    /// [`url`](crate::servers::Server::url).
    pub fn password(self, password: &str) -> Self {
        let setup = self.argument("requirepass", &quoted(password));
        Self { password: Some(password.to_owned()), ..setup }
    }

    /// The same with a file in the server's folder, which arguments name by `name` alone: an ACL
    /// file, a certificate.
    pub fn file(mut self, name: &str, contents: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), contents.into()));
        self
    }

    /// The same with one more port, for TLS: [`Redis::tls_url`]. The certificate and its key are
    /// PEM texts; the certificate has to be valid for `127.0.0.1`. Clients need none.
    pub fn tls(self, certificate: &str, key: &str) -> Self {
        let with_files = self
            .file("server.crt", certificate)
            .file("server.key", key)
            .argument("tls-cert-file", "server.crt")
            .argument("tls-key-file", "server.key")
            .argument("tls-ca-cert-file", "server.crt")
            .argument("tls-auth-clients", "no");
        Self { tls: true, ..with_files }
    }

    /// Starts a server that nobody else uses: in a container or as a process, whatever
    /// `LOCKING_TEST_REDIS_URL` says.
    ///
    /// # Errors
    ///
    /// - [`ServerError::NotToBeHad`] if there is neither, or if `LOCKING_TEST_SERVERS` is `env`.
    /// - [`ServerError::Failed`] or [`ServerError::TimedOut`] if it doesn't start.
    /// - [`ServerError::Variable`] if `LOCKING_TEST_SERVERS` says something unknown.
    pub async fn start(self) -> Result<Redis, ServerError> {
        start::own(&self).await
    }

    /// The lines of `redis.conf`, but for those that depend on where the server runs.
    pub(super) fn configuration(&self) -> String {
        let mut lines = "save \"\"\n".to_owned();
        for (name, value) in &self.arguments {
            lines.push_str(&format!("{name} {value}\n"));
        }
        lines
    }
}

/// A text as one value of a line.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => quoted.push_str(&format!("\\x{byte:02x}")),
        }
    }
    quoted + "\""
}

/// Without values: some are secrets.
impl std::fmt::Debug for RedisSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.arguments.iter().map(|(name, _)| name).collect();
        f.debug_struct("RedisSetup").field("arguments", &names).finish_non_exhaustive()
    }
}
