//! What the contract suite needs of a PostgreSQL server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use locking_core::{Capabilities, Capability, LockingProvider, ProviderId, async_trait};
use locking_postgres::{
    IDENTIFIER, MIGRATIONS, PostgresOptions, PostgresProvider, TakeoverOptions,
};
use locking_testkit::servers::{
    PgBouncer, PgBouncerSetup, Postgres, PostgresSetup, Server, Source,
};
use locking_testkit::{Harness, OwnServer, Stop};

/// What is claimed behind a pooler: neither `Notified` nor `Takeover`, because both take a session.
#[allow(dead_code, reason = "one of the suites is about it")]
pub(crate) const BEHIND_A_POOLER: Capabilities = Capabilities::none()
    .with(Capability::Fencing)
    .with(Capability::Fair)
    .with(Capability::SharedBetweenProcesses)
    .with(Capability::AtomicMultiKey)
    .with(Capability::Lists);

/// What is claimed, and how a case's own server is set up: so that both fit the server that the environment
/// names, where it names one.
#[allow(dead_code, reason = "one of the suites sets up all of its servers")]
pub(crate) fn as_named(claims: Capabilities) -> (Capabilities, fn() -> PostgresSetup) {
    if is_named() && keeps_what_it_commits() {
        let claims = claims.with(Capability::SurvivesRestart);
        return (claims, || PostgresSetup::new().durable());
    }
    (claims, PostgresSetup::new)
}

fn is_named() -> bool {
    let forced = Source::forced().expect("a source");
    forced.is_none_or(|forced| forced == Source::Environment)
        && std::env::var_os("LOCKING_TEST_POSTGRES_URL").is_some_and(|url| !url.is_empty())
}

/// Whether the named server does, by its own words: what the provider says of it is what the suite looks at.
fn keeps_what_it_commits() -> bool {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let said = runtime.block_on(async {
        let server = Postgres::start().await.expect("the server for the tests");
        let sql = "SELECT current_setting('fsync') || ' ' || current_setting('full_page_writes')";
        server.command(sql).await.expect("the server answers")
    });
    said.trim() == "on on"
}

/// A server that all cases share, each in a schema of its own.
pub(crate) struct Shared {
    server: Postgres,
    /// Through which clients reach it.
    pooler: Option<PgBouncer>,
    /// How a case's own server is set up.
    setup: fn() -> PostgresSetup,
}

impl Shared {
    pub(crate) const fn new(server: Postgres, setup: fn() -> PostgresSetup) -> Self {
        Self { server, pooler: None, setup }
    }

    /// The same behind a pooler, and so are the cases' own servers.
    #[allow(dead_code, reason = "one of the suites is about it")]
    pub(crate) async fn behind_a_pooler(self) -> Self {
        // That of the suite that started this process.
        let is_behind = std::env::var_os(POOLED).is_some();
        let pooler = if is_behind { None } else { Some(pooler(&self.server, "10").await) };
        Self { pooler, ..self }
    }

    fn entrance(&self) -> &Server {
        self.pooler.as_deref().unwrap_or(&self.server)
    }

    fn is_pooled(&self) -> bool {
        self.pooler.is_some() || std::env::var_os(POOLED).is_some()
    }
}

/// A pooler with so many sessions of the server's, which tries a server again as soon as clients do.
async fn pooler(server: &Postgres, size: &str) -> PgBouncer {
    let setup = PgBouncerSetup::new()
        .setting("max_client_conn", "2000")
        .setting("default_pool_size", size)
        .setting("server_login_retry", "0.1");
    setup.start(server).await.expect("a pooler")
}

/// Makes the tables beside the pooler: else those who do so, at once for each case, hold up everybody
/// else's few sessions for seconds.
async fn make(server: &Postgres, schema: &str) {
    let known = format!("SELECT count(*) FROM pg_namespace WHERE nspname = '{schema}'");
    if server.command(&known).await.expect("the server answers").trim() == "0" {
        let files: Vec<_> = MIGRATIONS.iter().map(|(_, sql)| *sql).collect();
        let all =
            format!("CREATE SCHEMA {schema}; SET search_path = {schema}; {}", files.join("\n"));
        server.command(&all).await.expect("the tables are made");
    }
}

/// What clients of a case's own server say as a password. It asks for none: each login by one takes long.
const PASSWORD: &str = "nobody_reads_this";

/// A server for a case that disturbs it.
struct Own {
    server: Postgres,
    pooler: Option<PgBouncer>,
}

impl Own {
    fn entrance(&self) -> &Server {
        self.pooler.as_deref().unwrap_or(&self.server)
    }
}

#[async_trait]
impl Harness for Shared {
    async fn connect(&self, space: &str) -> Arc<dyn LockingProvider> {
        if self.pooler.is_some() {
            make(&self.server, &schema(space)).await;
        }
        client(&self.entrance().url(), space, takeover(), self.is_pooled()).await
    }

    async fn entries(&self, space: &str) -> Option<u64> {
        Some(entries(&self.server, space).await)
    }

    async fn own_server(&self) -> Option<Arc<dyn OwnServer>> {
        // Nobody may disturb that one.
        if Source::forced().expect("a source") == Some(Source::Environment) {
            return None;
        }
        // A call's work is what its function executes.
        let setup = (self.setup)().setting("pg_stat_statements.track", "all");
        let server = setup.start().await.expect("a server of the case's own");
        let pooler = if self.is_pooled() { Some(pooler(&server, "4").await) } else { None };
        Some(Arc::new(Own { server, pooler }))
    }

    fn child_environment(&self) -> Vec<(String, String)> {
        let mut environment = self.entrance().child_environment();
        environment.extend(self.is_pooled().then(|| variable(POOLED)));
        environment
    }
}

#[async_trait]
impl OwnServer for Own {
    fn address(&self) -> SocketAddr {
        self.entrance().address()
    }

    async fn connect(&self, space: &str, address: SocketAddr) -> Arc<dyn LockingProvider> {
        if self.pooler.is_some() {
            make(&self.server, &schema(space)).await;
        }
        let url = with_password(&self.entrance().url_at(address));
        client(&url, space, quick_takeover(), self.pooler.is_some()).await
    }

    fn child_environment(&self, address: SocketAddr) -> Vec<(String, String)> {
        let mut environment = self.entrance().child_environment_at(address);
        environment.push(variable(QUICK));
        environment.extend(self.pooler.is_some().then(|| variable(POOLED)));
        environment
    }

    async fn stop(&self, how: Stop) {
        let stopped = match how {
            Stop::Clean => self.server.stop().await,
            _ => self.server.kill().await,
        };
        stopped.expect("the server ends");
    }

    async fn start_again(&self) {
        self.server.start_again().await.expect("the server starts again");
    }

    async fn pause(&self) {
        self.server.pause().await.expect("the server is paused");
    }

    async fn resume(&self) {
        self.server.resume().await.expect("the server goes on");
    }

    async fn forget_prepared(&self) {
        self.server.forget_plans().await.expect("the plans are forgotten");
    }

    async fn cut_notifications(&self) {
        self.server
            .terminate_backends(Some("locking session"))
            .await
            .expect("the sessions are ended");
    }

    async fn commands(&self) -> u64 {
        self.server.commands().await.expect("the server counts its commands")
    }

    async fn connections(&self) -> u64 {
        self.server.connections().await.expect("the server counts its connections")
    }

    fn secrets(&self) -> Vec<String> {
        vec![PASSWORD.to_owned()]
    }

    async fn entries(&self, space: &str) -> Option<u64> {
        Some(entries(&self.server, space).await)
    }
}

fn with_password(url: &str) -> String {
    let (login, server) = url.split_once('@').expect("the server's URL names who logs in");
    format!("{login}:{PASSWORD}@{server}")
}

/// In the environment of a client process of a case's own server.
const QUICK: &str = "LOCKING_TEST_QUICK_TAKEOVER";

/// In the environment of a client process behind a pooler.
const POOLED: &str = "LOCKING_TEST_POOLED";

fn variable(name: &str) -> (String, String) {
    (name.to_owned(), "yes".to_owned())
}

/// That of a client of the shared server, in whatever process.
fn takeover() -> TakeoverOptions {
    if std::env::var_os(QUICK).is_some() { quick_takeover() } else { TakeoverOptions::default() }
}

/// After a crash nothing is granted for nine tenths of it.
fn quick_takeover() -> TakeoverOptions {
    let mut takeover = TakeoverOptions::default();
    (takeover.heartbeat, takeover.session_timeout) = (ms(500), ms(3000));
    takeover
}

async fn client(
    url: &str,
    space: &str,
    takeover: TakeoverOptions,
    pgbouncer: bool,
) -> Arc<dyn LockingProvider> {
    let options = PostgresOptions::new(url).expect("a URL");
    let mut options = options.with_schema(schema(space)).expect("a schema");
    options.migrate_at_start = true;
    (options.takeover, options.pgbouncer) = (takeover, pgbouncer);
    // Behind a pooler, turns are taken at that pace, and the suite has many.
    options.maximum_retry_interval = ms(40);
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
