use std::collections::HashMap;
use std::sync::Arc;

use fred::types::{Map, Value};
use locking_core::{Capabilities, Capability, ProviderId};

use crate::CAPABILITIES;
use crate::connection::Connection;
use crate::failure::{Cause, Failure};

/// Those on which it depends what the provider can promise.
const NAMES: [&str; 4] =
    ["maxmemory-policy", "appendonly", "appendfsync", "no-appendfsync-on-rewrite"];

/// How the server is configured, as far as it says so: a user may have no right to ask, and who runs servers for
/// others may let nobody.
pub(crate) struct Settings {
    told: HashMap<String, String>,
    refusal: Option<Arc<Cause>>,
}

impl Settings {
    pub(crate) async fn of(connection: &Connection) -> Result<Self, Failure> {
        let names = ["GET"].into_iter().chain(NAMES).map(Value::from_static_str);
        Ok(match connection.ask("CONFIG", names.collect()).await? {
            Ok(reply) => Self { told: pairs(reply), refusal: None },
            Err(refusal) => Self { told: HashMap::new(), refusal: Some(refusal) },
        })
    }

    /// What this server adds to what every server promises.
    pub(crate) fn capabilities(&self) -> Capabilities {
        let is_always_written = self.is("appendonly", "yes")
            && self.is("appendfsync", "always")
            // Else not as long as the server writes a snapshot.
            && self.is("no-appendfsync-on-rewrite", "no");
        if is_always_written {
            CAPABILITIES.with(Capability::SurvivesRestart)
        } else {
            CAPABILITIES
        }
    }

    /// Warns of what locks may be lost by, and of what couldn't be checked.
    pub(crate) fn warn(&self, id: &ProviderId) {
        let policy = self.told.get("maxmemory-policy");
        if let Some(policy) = policy.filter(|policy| *policy != "noeviction") {
            tracing::warn!(provider = %id, %policy, "the Redis server's `maxmemory-policy` may evict locks that are held; set it to `noeviction`");
        }
        let unknown: Vec<_> =
            NAMES.into_iter().filter(|name| !self.told.contains_key(*name)).collect();
        if !unknown.is_empty() {
            let error = self.refusal.as_ref().map(tracing::field::display);
            tracing::warn!(provider = %id, unknown = unknown.join(", "), error, "the Redis server doesn't say all of how it is configured, so eviction and persistence aren't checked: make sure that `maxmemory-policy` is `noeviction`, and, where locks have to survive a restart, that `appendonly` is `yes`, `appendfsync` is `always` and `no-appendfsync-on-rewrite` is `no`");
        }
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.told.get(name).is_some_and(|told| told == value)
    }
}

/// A reply of names and values: a map, or, in the older protocol, a list in which they come in turns.
pub(crate) fn pairs(reply: Value) -> HashMap<String, String> {
    let pairs = reply.into_map().map(Map::inner).unwrap_or_default().into_iter();
    pairs.filter_map(|(name, value)| Some((name.into_string()?, value.into_string()?))).collect()
}
