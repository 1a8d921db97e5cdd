//! What the log tells of a server.

use std::time::Duration;

use locking_core::{LockingConfig, LockingModule, ProviderConfig};
use locking_redis::IDENTIFIER;
use tokio::time::sleep;
use tracing::Level;

use crate::capture::Capture;
use crate::{SOON, asked, configured, module, server};

#[tokio::test]
async fn a_connection_is_told_of_once_with_its_providers_id() {
    let server = server().await;
    let capture = Capture::start();
    let told = || {
        let events = capture.events(Level::INFO, "Redis");
        events.iter().map(|event| event.field("message").to_owned()).collect::<Vec<_>>()
    };
    configured("redis://127.0.0.1:1", &[]).await.expect_err("nobody listens");
    assert!(told().is_empty(), "there is no connection: {:?}", told());

    let by_default = r#"Connection to Redis in "locking-redis" provider established"#;
    let module = module(&server).await;
    assert_eq!(told(), [by_default]);
    for kind in ["normal", "pubsub"] {
        asked(&server, &["CLIENT", "KILL", "TYPE", kind]).await;
    }
    while module.acquire("k").owner("o").await.is_err() {
        sleep(Duration::from_millis(10)).await;
    }
    module.close(SOON).await.expect("closed");
    assert_eq!(told(), [by_default], "one that is made again is the same");

    let entry = ProviderConfig::new(IDENTIFIER).with_id("stock");
    let entry = entry.with_option("redis_url", server.url());
    let named = LockingModule::new(LockingConfig::new().with_provider(entry)).await;
    named.expect("the server can be reached");
    let by_name = r#"Connection to Redis in "stock" provider established"#;
    assert_eq!(told(), [by_default, by_name]);
}

#[tokio::test]
async fn a_server_that_may_evict_locks_is_warned_of() {
    let server = server().await;
    // Locks have an expiry, as a rule: `volatile` means them, too.
    for policy in [
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
    ] {
        asked(&server, &["CONFIG", "SET", "maxmemory-policy", policy]).await;
        let capture = Capture::start();
        let module = module(&server).await;
        let lease = module.acquire("k").expire(SOON * 60).await.expect("it works all the same");
        module.release_lease(&lease).await.expect("answered");
        let warnings = capture.events(Level::WARN, "");
        assert_eq!(warnings.len(), 1, "{policy}: {warnings:?}");
        let message = "the Redis server's `maxmemory-policy` may evict locks that are held; \
                       set it to `noeviction`";
        assert_eq!(warnings[0].field("message"), message);
        assert_eq!(warnings[0].field("policy"), policy);
    }
}

#[tokio::test]
async fn a_server_that_evicts_nothing_is_not_warned_of() {
    let server = server().await;
    asked(&server, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    let capture = Capture::start();
    module(&server).await.execute("k", |_| async {}).await.expect("free");
    let warnings = capture.events(Level::WARN, "");
    assert!(warnings.is_empty(), "{warnings:?}");
}
