use std::time::Duration;

use locking_core::{ConfigurationError, config};
use serde::Deserialize;
use tokio_postgres::Config;

use super::option;
use super::secret::Secret;
use super::{Address, PoolOptions, PostgresOptions, TakeoverOptions, TlsOptions};

/// Where the server is, if nothing in the options says it.
const VARIABLE: &str = "DATABASE_URL";

/// The options as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    url: Option<Secret>,
    host: Option<String>,
    #[serde(default, deserialize_with = "config::or_text::some")]
    port: Option<u16>,
    user: Option<String>,
    password: Option<Secret>,
    database: Option<String>,
    #[serde(default)]
    tls: TlsOptions,
    schema: Option<String>,
    #[serde(default)]
    pool: PoolOptions,
    #[serde(default, deserialize_with = "some_duration")]
    connect_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "some_duration")]
    command_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "some_duration")]
    wait_locking_timeout: Option<Duration>,
    #[serde(default)]
    takeover: TakeoverOptions,
    #[serde(default, deserialize_with = "config::or_text::deserialize")]
    pgbouncer: bool,
    #[serde(default, deserialize_with = "config::or_text::deserialize")]
    migrate_at_start: bool,
    #[serde(default, deserialize_with = "some_interval")]
    default_retry_interval: Option<Duration>,
    #[serde(default, deserialize_with = "some_interval")]
    maximum_retry_interval: Option<Duration>,
}

impl TryFrom<Written> for PostgresOptions {
    type Error = ConfigurationError;

    fn try_from(written: Written) -> Result<Self, ConfigurationError> {
        written.options(|variable| std::env::var(variable).ok())
    }
}

impl Written {
    fn options(
        self,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<PostgresOptions, ConfigurationError> {
        let mut options = self.server(environment)?;
        if let Some(schema) = self.schema {
            options = options.with_schema(schema)?;
        }
        let set = |option: &mut Duration, written: Option<Duration>| {
            *option = written.unwrap_or(*option);
        };
        set(&mut options.connect_timeout, self.connect_timeout);
        set(&mut options.command_timeout, self.command_timeout);
        set(&mut options.wait_locking_timeout, self.wait_locking_timeout);
        set(&mut options.default_retry_interval, self.default_retry_interval);
        set(&mut options.maximum_retry_interval, self.maximum_retry_interval);
        options.tls = self.tls.and(options.tls)?;
        options.pool = self.pool;
        options.takeover = self.takeover;
        options.pgbouncer = self.pgbouncer;
        options.migrate_at_start = self.migrate_at_start;
        options.check()?;
        Ok(options)
    }

    /// The defaults, for the server that is meant.
    fn server(
        &self,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<PostgresOptions, ConfigurationError> {
        match (&self.url, self.part()) {
            (Some(_), Some(part)) => {
                Err(option(part, "it is part of `url`; write either the one or the other"))
            }
            (Some(url), None) => PostgresOptions::new(url.expose()),
            (None, Some(part)) => self.of_parts(part),
            (None, None) => {
                let url = environment(VARIABLE).filter(|url| !url.is_empty()).ok_or_else(|| {
                    let problem = format!(
                        "it is missing, and `{VARIABLE}` isn't set in the environment: give the server's address as one of them, or as `host`, `user`, `password` and `database`"
                    );
                    option("url", &problem)
                })?;
                let (address, tls) = Address::parse(&url).map_err(|problem| {
                    let problem =
                        format!("it is missing, and of `{VARIABLE}` in the environment: {problem}");
                    option("url", &problem)
                })?;
                Ok(PostgresOptions { tls, ..PostgresOptions::at(address) })
            }
        }
    }

    /// The first part that is written.
    fn part(&self) -> Option<&'static str> {
        let parts = [
            ("host", self.host.is_some()),
            ("port", self.port.is_some()),
            ("user", self.user.is_some()),
            ("password", self.password.is_some()),
            ("database", self.database.is_some()),
        ];
        parts.into_iter().find(|(_, written)| *written).map(|(part, _)| part)
    }

    fn of_parts(&self, part: &str) -> Result<PostgresOptions, ConfigurationError> {
        let host = self.host.as_ref().ok_or_else(|| {
            let problem =
                format!("it is missing beside `{part}`: write all parts of the address, or `url`");
            option("host", &problem)
        })?;
        let mut config = Config::new();
        config.host(host);
        config.port(self.port.unwrap_or(5432));
        if let Some(user) = &self.user {
            config.user(user);
        }
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        if let Some(database) = &self.database {
            config.dbname(database);
        }
        let address = Address::new(config).map_err(|problem| option("host", &problem))?;
        Ok(PostgresOptions::at(address))
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

#[cfg(test)]
mod tests {
    use locking_core::{LockingConfig, LockingModule, ProviderConfig};
    use serde_json::{Value, json};
    use tokio_postgres::config::Host;

    use super::super::TlsMode;
    use super::*;

    /// Without a `DATABASE_URL`.
    fn parsed(options: Value) -> Result<PostgresOptions, String> {
        with_variable(options, None)
    }

    fn with_variable(options: Value, url: Option<&str>) -> Result<PostgresOptions, String> {
        let written: Written =
            serde_json::from_value(options).map_err(|error| error.to_string())?;
        let environment =
            |variable: &str| url.filter(|_| variable == "DATABASE_URL").map(str::to_owned);
        written.options(environment).map_err(|error| error.to_string())
    }

    fn refused(options: Value) -> String {
        parsed(options).map(drop).expect_err("refused")
    }

    /// Options beside a URL that is fine.
    fn beside(options: Value) -> Value {
        let mut all = json!({ "url": "postgres://u:secret@x/" });
        for (name, value) in options.as_object().expect("options") {
            all[name] = value.clone();
        }
        all
    }

    #[tokio::test]
    async fn in_a_configuration_it_is_told_where_the_mistake_is() {
        for (entry, path) in [
            (ProviderConfig::new("locking-postgres").with_option("user", "me"), "host"),
            (ProviderConfig::new("locking-postgres").with_option("url", "x"), "url"),
            (ProviderConfig::new("locking-postgres").with_option("schemas", "x"), "schemas"),
        ] {
            let module = LockingModule::new(LockingConfig::new().with_provider(entry));
            let error = module.await.expect_err("a mistake").to_string();
            let told = format!("invalid option `providers[0].options.{path}`: ");
            assert!(error.starts_with(&told), "{error}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let options = parsed(beside(json!({}))).expect("valid");
        assert_eq!(options.schema(), "locking");
        assert_eq!(options.tls.mode(), TlsMode::Prefer);
        assert_eq!(options.pool.max_size, 4);
        assert_eq!(options.connect_timeout, Duration::from_secs(3));
        assert_eq!(options.command_timeout, Duration::from_secs(2));
        assert_eq!(options.wait_locking_timeout, Duration::from_secs(5));
        assert_eq!(options.takeover.heartbeat, Duration::from_secs(1));
        assert_eq!(options.takeover.session_timeout, Duration::from_secs(10));
        assert_eq!(options.default_retry_interval, Duration::from_millis(5));
        assert_eq!(options.maximum_retry_interval, Duration::from_millis(200));
        assert!(!options.pgbouncer && !options.migrate_at_start);
    }

    #[test]
    fn without_an_address_the_environment_says_it() {
        let options = with_variable(json!({}), Some("postgres://u@db.test/")).expect("valid");
        assert_eq!(options.address().config.get_hosts(), [Host::Tcp("db.test".to_owned())]);
        for nothing in [None, Some("")] {
            let error = with_variable(json!({}), nothing).expect_err("no address");
            assert!(error.contains("`url`") && error.contains("DATABASE_URL"), "{error}");
        }
        let error = with_variable(json!({}), Some("mysql://u:secret@x/")).expect_err("no address");
        assert!(error.contains("DATABASE_URL") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn what_is_written_goes_before_the_environment() {
        let variable = Some("postgres://elsewhere/");
        let of = |options| with_variable(options, variable).expect("valid").address.config;
        let expected = [Host::Tcp("x".to_owned())];
        assert_eq!(of(json!({ "url": "postgres://x/" })).get_hosts(), expected);
        assert_eq!(of(json!({ "host": "x" })).get_hosts(), expected);
    }

    #[test]
    fn the_parts_are_an_address_together() {
        let parts = json!({
            "host": "db.test", "port": 5433, "user": "me", "password": "p w@", "database": "shop",
        });
        let parts = parsed(parts).expect("valid").address.config;
        let url = "postgres://me:p%20w%40@db.test:5433/shop";
        assert!(parts == PostgresOptions::new(url).expect("valid").address.config);
    }

    #[test]
    fn what_comes_from_the_environment_is_a_text() {
        let texts = json!({
            "host": "x", "port": "5433", "pool": { "max_size": " 2" }, "pgbouncer": "true", "migrate_at_start": "false",
        });
        let options = parsed(texts).expect("valid");
        assert_eq!(options.address.config.get_ports(), [5433]);
        assert_eq!(
            (options.pool.max_size, options.pgbouncer, options.migrate_at_start),
            (2, true, false)
        );
        let left_out = json!({ "host": "x", "port": null });
        assert_eq!(parsed(left_out).expect("valid").address.config.get_ports(), [5432]);
        for (written, expected) in [
            (json!({ "host": "x", "port": "many" }), "u16"),
            (json!({ "host": "x", "port": true }), "u16"),
            (json!({ "host": "x", "pgbouncer": "yes" }), "bool"),
            (json!({ "host": "x", "pgbouncer": 1 }), "bool"),
        ] {
            let error = refused(written);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn parts_without_a_host_are_none() {
        let error = refused(json!({ "password": "secret" }));
        assert!(error.contains("`host`") && error.contains("`password`"), "{error}");
        assert!(refused(json!({ "host": "" })).contains("`host`"));
    }

    #[test]
    fn an_address_is_written_once() {
        let error = refused(beside(json!({ "user": "me" })));
        assert!(error.contains("`user`") && error.contains("`url`"), "{error}");
    }

    #[test]
    fn unknown_options_are_refused() {
        assert!(refused(beside(json!({ "schemas": "x" }))).contains("schemas"));
        assert!(refused(beside(json!({ "tls": { "ca": "x" } }))).contains("`ca`"));
        assert!(refused(beside(json!({ "pool": { "size": 3 } }))).contains("size"));
        assert!(refused(beside(json!({ "takeover": { "after": "1s" } }))).contains("after"));
        assert!(refused(beside(json!({ "tls": { "mode": "allow" } }))).contains("verify-full"));
    }

    #[test]
    fn secrets_are_not_printed() {
        for options in [
            json!({ "url": "postgres://u:secret@x" }),
            json!({ "host": "x", "password": "secret" }),
        ] {
            let shown = format!("{:?}", parsed(options).expect("valid"));
            assert!(!shown.contains("secret"), "{shown}");
        }
    }

    #[test]
    fn a_secret_that_is_no_text_is_not_printed_either() {
        for options in [
            json!({ "url": 20_250_317 }),
            json!({ "host": "x", "password": 20_250_317 }),
            json!({ "host": "x", "password": [20_250_317] }),
        ] {
            let error = refused(options);
            assert!(!error.contains("20250317") && error.contains("text"), "{error}");
        }
    }

    #[test]
    fn a_schema_is_a_plain_name() {
        for schema in ["locking", "_", "a1_b"] {
            let options = parsed(beside(json!({ "schema": schema }))).expect("valid");
            assert_eq!(options.schema(), schema);
        }
        let long = "a".repeat(64);
        for schema in ["", "1a", "Locking", "lock-ing", "a\"b", "pg_locking", "ä", long.as_str()] {
            let error = refused(beside(json!({ "schema": schema })));
            assert!(error.contains("`schema`"), "{error}");
        }
    }

    #[test]
    fn durations_and_sizes_have_their_bounds() {
        for (options, named) in [
            (json!({ "connect_timeout": 0 }), "connect_timeout"),
            (json!({ "command_timeout": "0s" }), "command_timeout"),
            (json!({ "default_retry_interval": "0ms" }), "default_retry_interval"),
            (json!({ "default_retry_interval": "1s" }), "maximum_retry_interval"),
            (json!({ "default_retry_interval": 5 }), "5ms"),
            (json!({ "pool": { "max_size": 0 } }), "pool.max_size"),
            (json!({ "takeover": { "heartbeat": 0 } }), "takeover.heartbeat"),
            (json!({ "takeover": { "heartbeat": "4s" } }), "takeover.session_timeout"),
            (
                json!({ "takeover": { "heartbeat": "10ms", "session_timeout": "900ms" } }),
                "takeover.session_timeout",
            ),
        ] {
            let error = refused(beside(options));
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn what_the_address_says_is_a_default() {
        let url = "postgres://x/?connect_timeout=7";
        assert_eq!(
            parsed(json!({ "url": url })).expect("valid").connect_timeout,
            Duration::from_secs(7)
        );
        let options = json!({ "url": url, "connect_timeout": "1s" });
        assert_eq!(parsed(options).expect("valid").connect_timeout, Duration::from_secs(1));
    }

    #[test]
    fn tls_is_said_once() {
        let error = refused(json!({
            "url": "postgres://x/?sslmode=require", "tls": { "mode": "verify-full" },
        }));
        assert!(error.contains("`tls.mode`") && error.contains("`sslmode`"), "{error}");
    }

    #[test]
    #[cfg(feature = "tls")]
    fn tls_in_the_address_and_beside_it_is_one() {
        let options = parsed(json!({
            "url": "postgres://x/?sslmode=verify-full", "tls": { "ca_file": "ca.pem" },
        }));
        let tls = options.expect("valid").tls;
        assert_eq!(tls.mode(), TlsMode::VerifyFull);
        assert_eq!(tls.ca_file.as_deref(), Some("ca.pem".as_ref()));
    }

    #[test]
    #[cfg(not(feature = "tls"))]
    fn without_tls_no_mode_may_ask_for_it() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let error = refused(beside(json!({ "tls": { "mode": mode } })));
            assert!(error.contains("feature `tls`"), "{error}");
        }
        for mode in ["disable", "prefer"] {
            parsed(beside(json!({ "tls": { "mode": mode } }))).expect("plain connections");
        }
    }

    #[test]
    fn files_that_nobody_would_read_are_refused() {
        for (tls, named) in [
            (json!({ "ca_file": "ca.pem" }), "`verify-full`"),
            (json!({ "certificate_file": "c.pem" }), "`tls.key_file`"),
            (json!({ "key_file": "k.pem" }), "`tls.certificate_file`"),
        ] {
            let error = refused(beside(json!({ "tls": tls })));
            assert!(error.contains(named), "{error}");
        }
    }
}
