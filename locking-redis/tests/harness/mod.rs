//! What the contract suite needs of a Redis server.

use std::net::SocketAddr;
use std::sync::Arc;

use locking_core::{Capabilities, Capability, LockingProvider, ProviderId, async_trait};
use locking_redis::{CAPABILITIES, IDENTIFIER, RedisOptions, RedisProvider};
use locking_testkit::servers::{Redis, RedisSetup, Source};
use locking_testkit::{Harness, OwnServer, Stop};

/// A server that all cases share, each in a namespace of its own.
pub(crate) struct Shared {
    server: Redis,
    /// How a case's own server is set up.
    setup: fn() -> RedisSetup,
}

impl Shared {
    pub(crate) const fn new(server: Redis, setup: fn() -> RedisSetup) -> Self {
        Self { server, setup }
    }
}

/// What is claimed, and how a case's own server is set up: so that both fit the server that the environment
/// names, where it names one.
#[allow(dead_code, reason = "one of the suites sets up all of its servers")]
pub(crate) fn as_named() -> (Capabilities, fn() -> RedisSetup) {
    if is_named() && writes_every_command() {
        let claims = CAPABILITIES.with(Capability::SurvivesRestart);
        return (claims, || RedisSetup::new().durable());
    }
    (CAPABILITIES, RedisSetup::new)
}

fn is_named() -> bool {
    let forced = Source::forced().expect("a source");
    forced.is_none_or(|forced| forced == Source::Environment)
        && std::env::var_os("LOCKING_TEST_REDIS_URL").is_some_and(|url| !url.is_empty())
}

/// Whether the named server does so before it answers, by its own words: what the provider says of it is what the
/// suite looks at.
fn writes_every_command() -> bool {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let server = Redis::start().await.expect("the server for the tests");
        let names = ["appendonly", "appendfsync", "no-appendfsync-on-rewrite"];
        let asked = [&["CONFIG", "GET"], names.as_slice()].concat();
        // One that doesn't say so is as any other.
        let said = server.command(&asked).await.unwrap_or_default();
        let said: Vec<_> = said.lines().collect();
        let is = |name, value| said.chunks(2).any(|pair| pair == [name, value]);
        is("appendonly", "yes")
            && is("appendfsync", "always")
            && is("no-appendfsync-on-rewrite", "no")
    })
}

/// The password of a case's own server.
const PASSWORD: &str = "nobody reads this";

/// A server for a case that disturbs it.
struct Own(Redis);

#[async_trait]
impl Harness for Shared {
    async fn connect(&self, space: &str) -> Arc<dyn LockingProvider> {
        client(&self.server.url(), space).await
    }

    async fn entries(&self, space: &str) -> Option<u64> {
        Some(entries(&self.server, space).await)
    }

    async fn own_server(&self) -> Option<Arc<dyn OwnServer>> {
        // Nobody may disturb that one.
        if Source::forced().expect("a source") == Some(Source::Environment) {
            return None;
        }
        let server = (self.setup)().password(PASSWORD).start().await;
        Some(Arc::new(Own(server.expect("a server of the case's own"))))
    }

    fn child_environment(&self) -> Vec<(String, String)> {
        self.server.child_environment()
    }
}

#[async_trait]
impl OwnServer for Own {
    fn address(&self) -> SocketAddr {
        self.0.address()
    }

    async fn connect(&self, space: &str, address: SocketAddr) -> Arc<dyn LockingProvider> {
        client(&self.0.url_at(address), space).await
    }

    fn child_environment(&self, address: SocketAddr) -> Vec<(String, String)> {
        self.0.child_environment_at(address)
    }

    async fn stop(&self, how: Stop) {
        let stopped = match how {
            Stop::Clean => self.0.stop().await,
            _ => self.0.kill().await,
        };
        stopped.expect("the server ends");
    }

    async fn start_again(&self) {
        self.0.start_again().await.expect("the server starts again");
    }

    async fn pause(&self) {
        self.0.pause().await.expect("the server is paused");
    }

    async fn resume(&self) {
        self.0.resume().await.expect("the server goes on");
    }

    async fn forget_prepared(&self) {
        self.0.forget_scripts().await.expect("the scripts are forgotten");
    }

    async fn cut_notifications(&self) {
        self.0.cut_subscribers().await.expect("the subscribers are cut off");
    }

    async fn commands(&self) -> u64 {
        self.0.commands().await.expect("the server counts its commands")
    }

    async fn connections(&self) -> u64 {
        self.0.connections().await.expect("the server counts its connections")
    }

    fn secrets(&self) -> Vec<String> {
        // As it is, and as it stands in a URL.
        vec![PASSWORD.to_owned(), PASSWORD.replace(' ', "%20")]
    }

    async fn entries(&self, space: &str) -> Option<u64> {
        Some(entries(&self.0, space).await)
    }
}

async fn client(url: &str, space: &str) -> Arc<dyn LockingProvider> {
    let options = RedisOptions::new(url).expect("a URL");
    let options = options.with_namespace(namespace(space)).expect("a namespace");
    let provider = RedisProvider::connect(ProviderId::new(IDENTIFIER).expect("an id"), options);
    Arc::new(provider.await.expect("the server can be reached"))
}

fn namespace(space: &str) -> String {
    format!("{space}:")
}

/// What there is in a namespace, besides the counter of its tokens.
async fn entries(server: &Redis, space: &str) -> u64 {
    let script = "local found, cursor = 0, '0' repeat \
                  local page = redis.call('SCAN', cursor, 'MATCH', ARGV[1] .. '*', 'COUNT', 1000) \
                  cursor, found = page[1], found + #page[2] until cursor == '0' \
                  return found - redis.call('EXISTS', ARGV[1] .. '\\0t')";
    let found = server.command(&["EVAL", script, "0", &namespace(space)]).await;
    found.expect("the server answers").trim().parse().expect("a number")
}
