//! What the contract suite needs of a PostgreSQL server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use locking_core::{LockingProvider, ProviderId, async_trait};
use locking_postgres::{IDENTIFIER, PostgresOptions, PostgresProvider, TakeoverOptions};
use locking_testkit::servers::{Postgres, PostgresSetup};
use locking_testkit::{Harness, OwnServer, Stop};

/// A server that all cases share, each in a schema of its own.
pub(crate) struct Shared {
    server: Postgres,
    /// How a case's own server is set up.
    setup: fn() -> PostgresSetup,
}

impl Shared {
    pub(crate) const fn new(server: Postgres, setup: fn() -> PostgresSetup) -> Self {
        Self { server, setup }
    }
}

/// A server for a case that disturbs it.
struct Own(Postgres);

#[async_trait]
impl Harness for Shared {
    async fn connect(&self, space: &str) -> Arc<dyn LockingProvider> {
        client(&self.server.url(), space, takeover()).await
    }

    async fn entries(&self, space: &str) -> Option<u64> {
        Some(entries(&self.server, space).await)
    }

    async fn own_server(&self) -> Option<Arc<dyn OwnServer>> {
        let server = (self.setup)().start().await;
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
        client(&self.0.url_at(address), space, quick_takeover()).await
    }

    fn child_environment(&self, address: SocketAddr) -> Vec<(String, String)> {
        let mut environment = self.0.child_environment_at(address);
        environment.push((QUICK.to_owned(), "yes".to_owned()));
        environment
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
        self.0.forget_plans().await.expect("the plans are forgotten");
    }

    async fn cut_notifications(&self) {
        self.0.terminate_backends(Some("locking session")).await.expect("the sessions are ended");
    }

    async fn commands(&self) -> u64 {
        self.0.commands().await.expect("the server counts its commands")
    }

    async fn connections(&self) -> u64 {
        self.0.connections().await.expect("the server counts its connections")
    }

    async fn entries(&self, space: &str) -> Option<u64> {
        Some(entries(&self.0, space).await)
    }
}

/// In the environment of a client process of a case's own server.
const QUICK: &str = "LOCKING_TEST_QUICK_TAKEOVER";

/// That of a client of the shared server, in whatever process.
fn takeover() -> TakeoverOptions {
    if std::env::var_os(QUICK).is_some() { quick_takeover() } else { TakeoverOptions::default() }
}

/// After a crash nothing is granted for four fifths of it.
fn quick_takeover() -> TakeoverOptions {
    let mut takeover = TakeoverOptions::default();
    (takeover.heartbeat, takeover.session_timeout) = (ms(500), ms(3000));
    takeover
}

async fn client(url: &str, space: &str, takeover: TakeoverOptions) -> Arc<dyn LockingProvider> {
    let options = PostgresOptions::new(url).expect("a URL");
    let mut options = options.with_schema(schema(space)).expect("a schema");
    options.migrate_at_start = true;
    options.takeover = takeover;
    let provider = PostgresProvider::connect(ProviderId::new(IDENTIFIER).expect("an id"), options);
    Arc::new(provider.await.expect("the server can be reached"))
}

/// Cases have names of their own, which are too long for a schema.
fn schema(space: &str) -> String {
    let mut hash = std::hash::DefaultHasher::new();
    std::hash::Hash::hash(space, &mut hash);
    format!("case_{:016x}", std::hash::Hasher::finish(&hash))
}

/// What there is in a schema, besides the sequences of its tokens and the rows that are always there.
async fn entries(server: &Postgres, space: &str) -> u64 {
    let schema = schema(space);
    let tables = ["locking", "locking_guard", "locking_queue", "locking_withdrawn"];
    let counts: Vec<_> =
        tables.iter().map(|table| format!("(SELECT count(*) FROM {schema}.{table})")).collect();
    let found = server.command(&format!("SELECT {}", counts.join(" + "))).await;
    found.expect("the server answers").trim().parse().expect("a number")
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
