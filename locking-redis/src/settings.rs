use std::collections::HashMap;
use std::sync::Arc;

use fred::types::{Map, Value};
use locking_core::{Capabilities, Capability, ProviderId};

use crate::CAPABILITIES;
use crate::connection::Connection;
use crate::failure::{Cause, Failure};

/// What becomes of locks where the memory is used up.
const POLICY: &str = "maxmemory-policy";

/// What has to be so for a lock to outlive a restart: not even as long as it writes a snapshot may the server leave
/// something unwritten.
const WRITTEN: [(&str, &str); 3] =
    [("appendonly", "yes"), ("appendfsync", "always"), ("no-appendfsync-on-rewrite", "no")];

/// How the server is configured, as far as it says so: a user may have no right to ask, and who runs servers for
/// others may let nobody.
pub(crate) struct Settings {
    told: HashMap<String, String>,
    refusal: Option<Arc<Cause>>,
}

impl Settings {
    pub(crate) async fn of(connection: &Connection) -> Result<Self, Failure> {
        let names = ["GET", POLICY].into_iter().chain(WRITTEN.map(|(name, _)| name));
        let names = names.map(Value::from_static_str).collect();
        let mut settings = match connection.ask("CONFIG", names).await? {
            Ok(reply) => Self { told: pairs(reply), refusal: None },
            Err(refusal) => Self { told: HashMap::new(), refusal: Some(refusal) },
        };
        if !settings.told.contains_key(POLICY)
            && let Ok(reply) = connection.ask("INFO", vec!["memory".into()]).await?
            && let Some(policy) = line(&reply.into_string().unwrap_or_default(), "maxmemory_policy")
        {
            settings.told.insert(POLICY.to_owned(), policy.to_owned());
        }
        Ok(settings)
    }

    /// What this server adds to what every server promises.
    pub(crate) fn capabilities(&self) -> Capabilities {
        if WRITTEN.iter().all(|(name, value)| self.is(name, value)) {
            CAPABILITIES.with(Capability::SurvivesRestart)
        } else {
            CAPABILITIES
        }
    }

    /// Tells what locks may be lost by, and what couldn't be checked.
    pub(crate) fn tell(&self, id: &ProviderId) {
        let error = self.refusal.as_ref().map(tracing::field::display);
        match self.told.get(POLICY).map(String::as_str) {
            Some("noeviction") => {}
            Some(policy) => {
                tracing::warn!(provider = %id, policy, "the Redis server's `maxmemory-policy` may evict locks that are held; set it to `noeviction`");
            }
            None => {
                tracing::warn!(provider = %id, error, "the Redis server doesn't tell its `maxmemory-policy`, and may evict locks that are held: make sure that it is `noeviction`");
            }
        }
        let (told, unknown): (Vec<_>, Vec<_>) =
            WRITTEN.into_iter().partition(|(name, _)| self.told.contains_key(*name));
        if !unknown.is_empty() && told.iter().all(|(name, value)| self.is(name, value)) {
            let unknown = unknown.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            tracing::info!(provider = %id, unknown, error, "the Redis server doesn't tell all of how it writes to its disk, so locks that survive a restart aren't claimed");
        }
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.told.get(name).is_some_and(|told| told == value)
    }
}

/// What a line of `INFO` says.
pub(crate) fn line<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = info.lines().filter_map(|line| line.split_once(':'));
    lines.find_map(|(it, value)| (it == name).then_some(value))
}

/// A reply of names and values: a map, or, in the older protocol, a list in which they come in turns.
pub(crate) fn pairs(reply: Value) -> HashMap<String, String> {
    let pairs = reply.into_map().map(Map::inner).unwrap_or_default().into_iter();
    pairs.filter_map(|(name, value)| Some((name.into_string()?, value.into_string()?))).collect()
}
