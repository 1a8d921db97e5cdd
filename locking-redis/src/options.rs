use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use locking_core::{ConfigurationError, config};
use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny};

/// What can be set in a configuration's `options`.
#[derive(Clone, Deserialize)]
#[serde(try_from = "Written")]
#[non_exhaustive]
pub struct RedisOptions {
    /// Where the server is: `redis://[[user]:password@]host[:port][/database]`, or `rediss://` for TLS.
    /// Required; a secret.
    redis_url: String,
    /// How the connections are made and kept.
    pub redis_options: ConnectionOptions,
    /// What every key on the server begins with. Two providers with the same share their locks. Default:
    /// `medusa_lock:`, that of the original module.
    namespace: String,
    /// How long guards and jobs wait when they don't say. Default: 5 s.
    pub wait_locking_timeout: Duration,
    /// How soon a lock is looked at again that other software holds without telling of its release (the
    /// original module does); then at growing intervals. Default: 5 ms.
    pub default_retry_interval: Duration,
    /// The longest of those intervals; not shorter than the first. Default: 200 ms.
    pub maximum_retry_interval: Duration,
}

impl RedisOptions {
    /// The defaults, for this server.
    ///
    /// # Errors
    ///
    /// [`ConfigurationError::Option`] if it is no URL of a single Redis server.
    pub fn new(redis_url: impl Into<String>) -> Result<Self, ConfigurationError> {
        let redis_url = redis_url.into();
        check_url(&redis_url).map_err(|problem| option("redis_url", problem))?;
        Ok(Self {
            redis_url,
            redis_options: ConnectionOptions::default(),
            namespace: "medusa_lock:".to_owned(),
            wait_locking_timeout: Duration::from_secs(5),
            default_retry_interval: Duration::from_millis(5),
            maximum_retry_interval: Duration::from_millis(200),
        })
    }

    /// The same in this namespace.
    ///
    /// # Errors
    ///
    /// [`ConfigurationError::Option`] if it is empty, longer than 1,024 bytes or has a NUL in it.
    pub fn with_namespace(self, namespace: impl Into<String>) -> Result<Self, ConfigurationError> {
        let namespace = namespace.into();
        check_namespace(&namespace).map_err(|problem| option("namespace", problem))?;
        Ok(Self { namespace, ..self })
    }

    /// What every key on the server begins with.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) fn url(&self) -> &str {
        &self.redis_url
    }

    /// What goes together.
    pub(crate) fn check(&self) -> Result<(), ConfigurationError> {
        if self.default_retry_interval > self.maximum_retry_interval {
            let problem = "it is longer than `maximum_retry_interval`";
            return Err(option("default_retry_interval", problem));
        }
        let file = self.redis_options.tls.first_file();
        if let Some(file) = file.filter(|_| !self.redis_url.starts_with("rediss://")) {
            let problem = "it is for TLS, which this server isn't asked for: begin `redis_url` with `rediss://`";
            return Err(option(&format!("redis_options.tls.{file}"), problem));
        }
        Ok(())
    }
}

/// The URL is a secret.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("redis_url", &"…")
            .field("redis_options", &self.redis_options)
            .field("namespace", &self.namespace)
            .field("wait_locking_timeout", &self.wait_locking_timeout)
            .field("default_retry_interval", &self.default_retry_interval)
            .field("maximum_retry_interval", &self.maximum_retry_interval)
            .finish()
    }
}

/// How the connections to the server are made and kept. What would break the contract (a command sent
/// again by the client, a database switched under way) can't be set.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ConnectionOptions {
    /// The user, where it isn't in the URL.
    pub username: Option<String>,
    /// The password, where it isn't in the URL. A secret.
    #[serde(deserialize_with = "Secret::some")]
    pub password: Option<Secret>,
    /// How long connecting may take; longer than zero. Default: 3 s.
    #[serde(with = "config::duration")]
    pub connect_timeout: Duration,
    /// How long a command may take, reconnecting included, before its outcome counts as unknown; longer
    /// than zero, a minute at most. Default: 2 s.
    #[serde(with = "config::duration")]
    pub command_timeout: Duration,
    /// How a lost connection is made again.
    pub reconnection: ReconnectionOptions,
    /// TLS, for a `rediss://` URL.
    pub tls: TlsOptions,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            username: None,
            password: None,
            connect_timeout: Duration::from_secs(3),
            command_timeout: Duration::from_secs(2),
            reconnection: ReconnectionOptions::default(),
            tls: TlsOptions::default(),
        }
    }
}

/// How a lost connection is made again: without end, at growing intervals.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ReconnectionOptions {
    /// The first interval. Default: 20 ms.
    #[serde(with = "config::duration::human_only")]
    pub minimum_delay: Duration,
    /// The longest interval. To each of them up to 100 ms is added at random, within this. Default: 500 ms.
    #[serde(with = "config::duration::human_only")]
    pub maximum_delay: Duration,
}

impl Default for ReconnectionOptions {
    fn default() -> Self {
        Self { minimum_delay: Duration::from_millis(20), maximum_delay: Duration::from_millis(500) }
    }
}

/// Whose certificates are believed, and who the client says it is. Files are PEM.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsOptions {
    /// The authorities that may sign the server's certificate. Default: those of the platform.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate, where the server asks for one; with `key_file`.
    pub certificate_file: Option<PathBuf>,
    /// The key of the client's certificate.
    pub key_file: Option<PathBuf>,
}

impl TlsOptions {
    /// The name of the first file that is set.
    fn first_file(&self) -> Option<&'static str> {
        let files = [
            ("ca_file", &self.ca_file),
            ("certificate_file", &self.certificate_file),
            ("key_file", &self.key_file),
        ];
        files.iter().find(|(_, file)| file.is_some()).map(|(name, _)| *name)
    }
}

/// A text that is never printed.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// A secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    fn some<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        Ok(some_secret(deserializer)?.map(Self))
    }
}

/// A text that no error quotes, also not where it is written as something else than a text.
fn some_secret<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Other(IgnoredAny),
    }

    match Option::deserialize(deserializer)? {
        None => Ok(None),
        Some(Written::Text(text)) => Ok(Some(text)),
        Some(Written::Other(_)) => Err(D::Error::custom("it has to be a text, in quotes")),
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The options as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    #[serde(default, deserialize_with = "some_secret")]
    redis_url: Option<String>,
    #[serde(default)]
    redis_options: ConnectionOptions,
    namespace: Option<String>,
    #[serde(default, deserialize_with = "some_duration")]
    wait_locking_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "some_interval")]
    default_retry_interval: Option<Duration>,
    #[serde(default, deserialize_with = "some_interval")]
    maximum_retry_interval: Option<Duration>,
}

impl TryFrom<Written> for RedisOptions {
    type Error = ConfigurationError;

    fn try_from(written: Written) -> Result<Self, ConfigurationError> {
        let missing = "it is missing: give the server's address, say `\"${LOCKING_REDIS_URL}\"` for that in the environment";
        let url = written.redis_url.ok_or_else(|| option("redis_url", missing))?;
        let mut options = Self::new(url)?;
        if let Some(namespace) = written.namespace {
            options = options.with_namespace(namespace)?;
        }
        let Written { wait_locking_timeout, default_retry_interval, .. } = written;
        let maximum_retry_interval = written.maximum_retry_interval;
        options.redis_options = written.redis_options;
        options.wait_locking_timeout = wait_locking_timeout.unwrap_or(options.wait_locking_timeout);
        options.default_retry_interval =
            default_retry_interval.unwrap_or(options.default_retry_interval);
        options.maximum_retry_interval =
            maximum_retry_interval.unwrap_or(options.maximum_retry_interval);
        options.check()?;
        Ok(options)
    }
}

fn some_duration<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    config::duration::deserialize(deserializer).map(Some)
}

fn some_interval<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    config::duration::human_only::deserialize(deserializer).map(Some)
}

/// What is wrong with a URL. It is a secret: nothing of it is quoted.
fn check_url(url: &str) -> Result<(), &'static str> {
    if let Some((scheme, _)) = url.split_once("://") {
        match scheme {
            "redis" => Ok(()),
            "rediss" if cfg!(feature = "tls") => Ok(()),
            "rediss" => Err("`rediss://` needs the Cargo feature `tls` of `locking-redis`"),
            "redis-cluster" | "rediss-cluster" | "redis-sentinel" | "rediss-sentinel" => {
                Err("clusters and sentinels aren't supported; give one server's address")
            }
            _ => Err("it has to begin with `redis://` or `rediss://`"),
        }
    } else {
        Err("it has to begin with `redis://` or `rediss://`")
    }
}

fn check_namespace(namespace: &str) -> Result<(), &'static str> {
    if namespace.is_empty() {
        return Err("a namespace has at least one character");
    }
    if namespace.len() > 1024 {
        return Err("a namespace has at most 1,024 bytes");
    }
    if namespace.contains('\0') { Err("a namespace has no NUL in it") } else { Ok(()) }
}

fn option(path: &str, problem: &str) -> ConfigurationError {
    ConfigurationError::option(path, problem)
}

#[cfg(test)]
mod tests {
    use locking_core::{LockingConfig, LockingModule, ProviderConfig};

    use super::*;

    fn parsed(options: &str) -> Result<RedisOptions, String> {
        serde_json::from_str(options).map_err(|error| error.to_string())
    }

    #[test]
    fn a_missing_url_names_the_variable_to_use() {
        let error = parsed("{}").expect_err("a URL is required");
        assert!(error.contains("redis_url") && error.contains("LOCKING_REDIS_URL"), "{error}");
    }

    #[tokio::test]
    async fn in_a_configuration_it_is_told_where_the_mistake_is() {
        for (entry, path) in [
            (ProviderConfig::new("locking-redis"), "redis_url"),
            (ProviderConfig::new("locking-redis").with_option("redis_url", "x"), "redis_url"),
            (ProviderConfig::new("locking-redis").with_option("namespaces", "x"), "namespaces"),
        ] {
            let module = LockingModule::new(LockingConfig::new().with_provider(entry));
            let error = module.await.expect_err("a mistake").to_string();
            let told = format!("invalid option `providers[0].options.{path}`: ");
            assert!(error.starts_with(&told), "{error}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_original_module() {
        let options = parsed(r#"{"redis_url": "redis://localhost"}"#).expect("valid");
        assert_eq!(options.namespace(), "medusa_lock:");
        assert_eq!(options.wait_locking_timeout, Duration::from_secs(5));
        assert_eq!(options.default_retry_interval, Duration::from_millis(5));
        assert_eq!(options.maximum_retry_interval, Duration::from_millis(200));
    }

    #[test]
    fn files_for_tls_are_refused_where_there_is_none() {
        for file in ["ca_file", "certificate_file", "key_file"] {
            let options = |scheme: &str| {
                let tls = format!(r#""redis_options": {{"tls": {{"{file}": "ca.pem"}}}}"#);
                parsed(&format!(r#"{{"redis_url": "{scheme}://localhost", {tls}}}"#))
            };
            let error = options("redis").expect_err("nothing would be encrypted");
            assert!(error.contains(&format!("redis_options.tls.{file}")), "{error}");
            assert!(error.contains("rediss://"), "{error}");
            #[cfg(feature = "tls")]
            options("rediss").expect("it is what the file is for");
        }
    }

    #[test]
    fn a_given_namespace_is_the_prefix() {
        let options = parsed(r#"{"redis_url": "redis://localhost", "namespace": "shop*"}"#);
        assert_eq!(options.expect("valid").namespace(), "shop*");
    }

    #[test]
    fn unknown_options_are_refused() {
        let unknown = r#"{"redis_url": "redis://localhost", "namespaces": "x"}"#;
        assert!(parsed(unknown).expect_err("unknown").contains("namespaces"));
        let unknown = r#"{"redis_url": "redis://localhost", "redis_options": {"max_attempts": 3}}"#;
        assert!(parsed(unknown).expect_err("unknown").contains("max_attempts"));
    }

    #[test]
    fn urls_of_something_else_are_refused_without_being_quoted() {
        for url in ["localhost:6379", "http://u:secret@x", "redis-cluster://u:secret@x"] {
            let error = RedisOptions::new(url).expect_err("refused").to_string();
            assert!(error.contains("redis_url") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let options =
            r#"{"redis_url": "redis://u:secret@x", "redis_options": {"password": "secret"}}"#;
        let shown = format!("{:?}", parsed(options).expect("valid"));
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn a_secret_that_is_no_text_is_not_printed_either() {
        for options in [
            r#"{"redis_url": 20250317}"#,
            r#"{"redis_url": "redis://x", "redis_options": {"password": 20250317}}"#,
            r#"{"redis_url": "redis://x", "redis_options": {"password": [20250317]}}"#,
        ] {
            let error = parsed(options).expect_err("no text");
            assert!(!error.contains("20250317") && error.contains("text"), "{error}");
        }
    }

    #[test]
    fn a_bare_number_is_no_retry_interval() {
        let options = r#"{"redis_url": "redis://x", "default_retry_interval": 5}"#;
        assert!(parsed(options).expect_err("refused").contains("5ms"), "it says what to write");
    }
}
