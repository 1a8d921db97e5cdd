use fred::types::{Value, Version};
use locking_core::{ConfigurationError, ProviderId};

use crate::connection::Connection;
use crate::failure::Failure;
use crate::settings::{line, pairs};

/// The oldest major version that will do. Valkey began later, and counts on from there.
const OLDEST: u64 = 7;

/// Which server answers, as far as it says so.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Server {
    pub(crate) version: Option<Version>,
    mode: Option<Mode>,
}

#[derive(Debug, PartialEq)]
enum Mode {
    Standalone,
    Cluster,
    Sentinel,
}

impl Server {
    /// Asks it. `HELLO` without a word leaves the connection as it is, and an ACL can't take it away. A server that
    /// is too old for that, or has renamed it, may say the same by `INFO`.
    pub(crate) async fn of(connection: &Connection) -> Result<Self, Failure> {
        let hello = connection.ask("HELLO", Vec::new()).await?;
        let server = hello.map(Self::by_hello).unwrap_or_default();
        if server.unknown().is_empty() {
            return Ok(server);
        }
        let info = connection.ask("INFO", vec!["server".into()]).await?;
        let info = info.map(Self::by_info).unwrap_or_default();
        Ok(Self { version: server.version.or(info.version), mode: server.mode.or(info.mode) })
    }

    /// Refuses one on which no lock would hold.
    pub(crate) fn check(&self) -> Result<(), ConfigurationError> {
        let wrong = |problem: &str| Err(ConfigurationError::option("redis_url", problem));
        if let Some(version) = self.version.as_ref().filter(|version| version.major < OLDEST) {
            return wrong(&format!(
                "the server has version {version}, and has to be Redis 7.0 or later, or Valkey"
            ));
        }
        match self.mode {
            Some(Mode::Cluster) => {
                wrong("this is a node of a cluster, and clusters aren't supported yet")
            }
            Some(Mode::Sentinel) => {
                wrong("this is a Sentinel, which keeps no locks: name the server that it watches")
            }
            Some(Mode::Standalone) | None => Ok(()),
        }
    }

    /// Warns of what couldn't be checked.
    pub(crate) fn warn(&self, id: &ProviderId) {
        let unknown = self.unknown();
        if !unknown.is_empty() {
            tracing::warn!(provider = %id, unknown = unknown.join(", "), "neither by `HELLO` nor by `INFO` does the Redis server say all of what it is: make sure that it is Redis 7.0 or later, or Valkey, and no node of a cluster");
        }
    }

    fn unknown(&self) -> Vec<&'static str> {
        let unknown = [("version", self.version.is_none()), ("mode", self.mode.is_none())];
        unknown.into_iter().filter_map(|(name, unknown)| unknown.then_some(name)).collect()
    }

    fn by_hello(reply: Value) -> Self {
        let told = pairs(reply);
        let of = |name: &str| told.get(name).map(String::as_str);
        Self::read(of("version"), of("mode"))
    }

    /// Valkey has its own version beside that of the Redis which it is compatible with, and another name for its mode.
    fn by_info(reply: Value) -> Self {
        let text = reply.into_string().unwrap_or_default();
        let of = |name: &str| line(&text, name);
        let version = of("valkey_version").or_else(|| of("redis_version"));
        Self::read(version, of("redis_mode").or_else(|| of("server_mode")))
    }

    fn read(version: Option<&str>, mode: Option<&str>) -> Self {
        let mode = match mode {
            Some("standalone") => Some(Mode::Standalone),
            Some("cluster") => Some(Mode::Cluster),
            Some("sentinel") => Some(Mode::Sentinel),
            _ => None,
        };
        Self { version: version.and_then(|text| Version::parse(text).ok()), mode }
    }
}

#[cfg(test)]
mod tests {
    use fred::types::Map;

    use super::*;

    /// As RESP2 has it: names and values in turns.
    fn list(name: &str, version: &str, mode: &str) -> Value {
        Value::Array(vec![
            "server".into(),
            name.into(),
            "version".into(),
            version.into(),
            "proto".into(),
            2_i64.into(),
            "id".into(),
            4_i64.into(),
            "mode".into(),
            mode.into(),
            "role".into(),
            "master".into(),
            "modules".into(),
            Value::Array(Vec::new()),
        ])
    }

    /// As RESP3 has it.
    fn map(name: &str, version: &str, mode: &str) -> Value {
        let pairs: [(&str, Value); 5] = [
            ("server", name.into()),
            ("version", version.into()),
            ("proto", 3_i64.into()),
            ("mode", mode.into()),
            ("modules", Value::Array(vec![Value::Map(Map::new())])),
        ];
        Value::Map(Map::try_from(pairs).expect("a map"))
    }

    fn refusal(server: &Server) -> String {
        server.check().expect_err("it won't do").to_string()
    }

    #[test]
    fn a_server_says_its_version_and_mode_in_either_protocol() {
        for (name, version) in [("redis", "7.0.15"), ("redis", "8.2.1"), ("valkey", "8.1.3")] {
            for reply in [list(name, version, "standalone"), map(name, version, "standalone")] {
                let server = Server::by_hello(reply);
                assert_eq!(server.version, Some(version.parse().expect("a version")));
                assert_eq!(server.mode, Some(Mode::Standalone));
                server.check().expect("it will do");
            }
        }
    }

    #[test]
    fn what_is_older_than_redis_7_is_refused_with_the_version_that_it_has() {
        for version in ["5.0.14", "6.0.16", "6.2.17", "6.9.242"] {
            for server in [
                Server::by_hello(list("redis", version, "standalone")),
                Server::by_info(format!("# Server\r\nredis_version:{version}\r\n").into()),
            ] {
                let refusal = refusal(&server);
                assert!(refusal.contains(&format!("has version {version},")), "{refusal}");
                assert!(refusal.contains("Redis 7.0 or later"), "{refusal}");
            }
        }
    }

    #[test]
    fn nodes_of_clusters_and_sentinels_are_refused() {
        for (mode, word) in [("cluster", "cluster"), ("sentinel", "Sentinel")] {
            let server = Server::by_hello(list("redis", "7.4.2", mode));
            assert!(refusal(&server).contains(word), "{server:?}");
        }
        for name in ["redis_mode", "server_mode"] {
            let info = format!("# Server\r\nredis_version:7.2.4\r\n{name}:cluster\r\nos:Linux\r\n");
            let server = Server::by_info(info.into());
            assert!(refusal(&server).contains("cluster"), "{server:?}");
        }
    }

    #[test]
    fn valkey_is_what_it_calls_itself_not_what_it_is_compatible_with() {
        let info = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\n\
                    redis_git_sha1:00000000\r\nserver_mode:standalone\r\nos:Linux 5.14.0 x86_64\r\n";
        let server = Server::by_info(info.into());
        assert_eq!(server.version, Some(Version::new(8, 0, 1)));
        assert_eq!(server.unknown(), [""; 0]);
        server.check().expect("it will do");
    }

    #[test]
    fn what_is_no_version_and_no_mode_is_unknown_and_not_refused() {
        let odd = Value::Array(vec!["version".into(), "6.2.1".into(), "mode".into()]);
        let replies = ["", "7", "7.0", "v7.0.15", "7.0.15 ", "7.0.015", "6.2.x", "OK"]
            .map(|version| list("redis", version, "proxy"));
        for reply in replies.into_iter().chain([odd, Value::Null, "OK".into()]) {
            let server = Server::by_hello(reply.clone());
            assert_eq!(server.unknown(), ["version", "mode"], "{reply:?}");
            server.check().expect("nothing speaks against it");
        }
        for info in ["", "redis_version\r\nredis_mode:\r\n", "x_redis_version:6.2.1\r\n"] {
            assert_eq!(Server::by_info(info.into()), Server::default(), "{info:?}");
        }
        assert_eq!(Server::by_info(Value::Null), Server::default());
    }
}
