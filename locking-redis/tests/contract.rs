//! The contract suite, against a Redis server.

use std::process::ExitCode;
use std::sync::Arc;

use locking_core::{LockingProvider, ProviderId, async_trait};
use locking_redis::{CAPABILITIES, RedisOptions, RedisProvider};
use locking_testkit::Harness;

struct Redis {
    url: String,
}

#[async_trait]
impl Harness for Redis {
    async fn connect(&self, space: &str) -> Arc<dyn LockingProvider> {
        let options = RedisOptions::new(&self.url).expect("a URL");
        let options = options.with_namespace(format!("{space}:")).expect("a namespace");
        let id = ProviderId::new(locking_redis::IDENTIFIER).expect("an id");
        let provider = RedisProvider::connect(id, options).await;
        Arc::new(provider.expect("the server can be reached"))
    }
}

fn main() -> ExitCode {
    locking_testkit::main(CAPABILITIES, || async {
        Redis { url: std::env::var("LOCKING_TEST_REDIS_URL").expect("set") }
    })
}
