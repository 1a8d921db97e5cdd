//! The driver without the provider: what the provider's calls are compared with.

use std::time::Duration;

use fred::clients::{Client, SubscriberClient};
use fred::interfaces::ClientLike;
use fred::types::config::{Config, ReconnectPolicy, UnresponsiveConfig};
use fred::types::{Builder, ClusterHash, CustomCommand, Value};

use super::server::Server;
use crate::measure::Work;
use crate::{Result, keys, owners};

/// Deletes a key that has this value.
const COMPARE_AND_DELETE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// As long as the leases that it is compared with.
pub(super) const EXPIRY: Duration = Duration::from_secs(60);

/// Set up as the provider's clients are.
fn builder(url: &str) -> Result<Builder> {
    let mut config = Config::from_url_centralized(url)?;
    config.fail_fast = true;
    let mut builder = Builder::from_config(config);
    builder
        .set_policy(ReconnectPolicy::new_exponential(0, 20, 500, 2))
        .with_performance_config(|performance| {
            performance.default_command_timeout = Duration::from_secs(2);
            performance.broadcast_channel_capacity = 16_384;
        })
        .with_connection_config(|connection| {
            connection.connection_timeout = Duration::from_secs(3);
            connection.internal_command_timeout = Duration::from_secs(2);
            connection.max_command_attempts = 1;
            connection.tcp.nodelay = Some(true);
            connection.unresponsive = UnresponsiveConfig {
                max_timeout: Some(Duration::from_secs(4)),
                interval: Duration::from_millis(500),
            };
        });
    Ok(builder)
}

pub(super) async fn client(url: &str) -> Result<Client> {
    let client = builder(url)?.build()?;
    client.init().await?;
    Ok(client)
}

pub(super) async fn subscriber(url: &str) -> Result<SubscriberClient> {
    let subscriber = builder(url)?.build_subscriber_client()?;
    subscriber.init().await?;
    Ok(subscriber)
}

pub(super) async fn send(
    client: &Client,
    command: &'static str,
    args: Vec<Value>,
) -> Result<Value> {
    let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
    Ok(client.custom(command, args).await?)
}

/// `SET NX PX`, and the script that deletes the key if it is still one's own: the least that a lock on
/// Redis does. All tasks share one client.
pub(super) struct SetAndDelete {
    client: Client,
    digest: Value,
    keys: Vec<Value>,
    owners: Vec<Value>,
    milliseconds: Value,
}

impl SetAndDelete {
    pub(super) async fn new(server: &Server, tasks: usize) -> Result<Self> {
        let client = client(&server.url()).await?;
        let digest =
            send(&client, "SCRIPT", vec!["LOAD".into(), COMPARE_AND_DELETE.into()]).await?;
        // Beside the provider's keys, and as long.
        let keys = keys(tasks).into_iter().map(|key| format!("floor:{key}").into()).collect();
        let owners = owners(tasks).into_iter().map(Value::from).collect();
        let milliseconds = EXPIRY.as_millis().to_string().into();
        Ok(Self { client, digest, keys, owners, milliseconds })
    }
}

impl Work for SetAndDelete {
    const BATCH: u64 = 1;

    async fn once(&self, task: usize) {
        let (key, owner) = (&self.keys[task], &self.owners[task]);
        let set = vec![
            key.clone(),
            owner.clone(),
            Value::from_static_str("NX"),
            Value::from_static_str("PX"),
            self.milliseconds.clone(),
        ];
        let set = send(&self.client, "SET", set).await.expect("the server answers");
        assert!(!set.is_null(), "nobody else wants it");
        let delete =
            vec![self.digest.clone(), Value::from_static_str("1"), key.clone(), owner.clone()];
        let deleted = send(&self.client, "EVALSHA", delete).await.expect("the server answers");
        assert_eq!(deleted.as_u64(), Some(1));
    }
}
