use std::collections::HashMap;

use fred::types::Value;

use crate::connection::Connection;

/// Those on which it depends what the provider can promise.
const NAMES: [&str; 5] = [
    "cluster-enabled",
    "maxmemory-policy",
    "appendonly",
    "appendfsync",
    "no-appendfsync-on-rewrite",
];

/// How the server is configured, as far as it says so: a user may have no right to ask.
pub(crate) struct Settings(HashMap<String, String>);

impl Settings {
    pub(crate) async fn of(connection: &Connection) -> Self {
        let names = ["GET"].into_iter().chain(NAMES).map(Value::from_static_str);
        match connection.send("CONFIG", names.collect()).await {
            Ok(Value::Array(words)) => Self(pairs(words)),
            Ok(_) => Self(HashMap::new()),
            Err(error) => {
                tracing::debug!(%error, "the Redis server doesn't say how it is configured");
                Self(HashMap::new())
            }
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == Some(value)
    }
}

/// Names and values come in turns.
fn pairs(words: Vec<Value>) -> HashMap<String, String> {
    let mut words = words.into_iter();
    let mut pairs = HashMap::new();
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        if let (Some(name), Some(value)) = (name.into_string(), value.into_string()) {
            pairs.insert(name, value);
        }
    }
    pairs
}
