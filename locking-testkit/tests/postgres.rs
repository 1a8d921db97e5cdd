//! PostgreSQL servers for tests, from every source that is there.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use locking_testkit::faults::{Cut, Direction, Fault, Proxy};
use locking_testkit::servers::{
    PgBouncer, PgBouncerSetup, Postgres, PostgresSetup, ServerError, Source,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

mod leashed;

#[tokio::test]
async fn a_server_answers_where_it_says() {
    let postgres = PostgresSetup::new().start().await.expect("a server");
    assert_eq!(postgres.command("SELECT 1; SELECT 2").await.expect("answered"), "1\n2");
    assert_eq!(postgres.command("SELECT null::text").await.expect("answered"), "");
    let address = postgres.address();
    assert_eq!(postgres.url(), format!("postgres://postgres@{address}/postgres"));
    assert_eq!(postgres.tls_url(), None);
    assert!(address.ip().is_loopback());
    let error = postgres.command("SELECT nothing").await.expect_err("no such column");
    assert!(error.to_string().contains("\"nothing\" does not exist (42703)"), "{error}");
    let error = postgres.command("ALTER ROLE nobody PASSWORD 'secret'").await;
    assert!(!error.expect_err("no such role").to_string().contains("secret"));
}

#[tokio::test]
async fn what_is_committed_is_there_after_a_crash() {
    for (setup, fsync) in [(PostgresSetup::new(), "off"), (PostgresSetup::new().durable(), "on")] {
        let postgres = setup.start().await.expect("a server");
        assert_eq!(postgres.command("SHOW fsync").await.expect("answered"), fsync);
        let sql = "CREATE TABLE kept (name text); INSERT INTO kept VALUES ('1')";
        postgres.command(sql).await.expect("answered");
        let address = postgres.address();
        postgres.kill().await.expect("killed");
        let error = postgres.command("SELECT 1").await.expect_err("it is gone");
        assert!(matches!(error, ServerError::Command { .. }), "{error}");
        postgres.start_again().await.expect("started");
        assert_eq!(postgres.address(), address);
        let kept = "SELECT name FROM kept";
        assert_eq!(postgres.command(kept).await.expect("answered"), "1");
        postgres.stop().await.expect("stopped");
        postgres.stop().await.expect("stopped already");
        postgres.start_again().await.expect("started");
        assert_eq!(postgres.command(kept).await.expect("answered"), "1");
    }
}

#[tokio::test]
async fn what_is_not_logged_outlives_a_stop_and_nothing_else() {
    let postgres = PostgresSetup::new().start().await.expect("a server");
    postgres.command("CREATE UNLOGGED TABLE kept (name text)").await.expect("answered");
    let count = "SELECT count(*) FROM kept";
    for (end, left) in [("fast", "1"), ("immediate", "0"), ("crash", "0")] {
        postgres.command("TRUNCATE kept").await.expect("answered");
        postgres.command("INSERT INTO kept VALUES ('1')").await.expect("answered");
        match end {
            "fast" => postgres.stop().await,
            "immediate" => postgres.stop_immediately().await,
            _ => postgres.kill().await,
        }
        .expect("it ends");
        postgres.start_again().await.expect("started");
        assert_eq!(postgres.command(count).await.expect("answered"), left, "{end}");
    }
}

#[tokio::test]
async fn open_sessions_end_when_it_is_killed_or_stopped() {
    let postgres = PostgresSetup::new().start().await.expect("a server");
    let mut session = session(&postgres, "idle").await;
    let began = Instant::now();
    postgres.stop().await.expect("stopped");
    assert!(began.elapsed() < Duration::from_secs(15), "it doesn't wait for its clients");
    assert!(ended(&mut session).await.contains("57P01"), "they are told");
    postgres.start_again().await.expect("started");
    let mut session = self::session(&postgres, "idle").await;
    until_idle(&postgres, "idle").await;
    postgres.stop_immediately().await.expect("stopped");
    postgres.stop_immediately().await.expect("stopped already");
    // By versions before 14, 57P02.
    assert!(ended(&mut session).await.contains("57P0"), "they are told");
    postgres.start_again().await.expect("started");
    let mut session = self::session(&postgres, "idle").await;
    postgres.kill().await.expect("killed");
    assert_eq!(ended(&mut session).await, "", "nobody says a word");
}

#[tokio::test]
async fn a_paused_server_answers_when_it_is_resumed() {
    let postgres = PostgresSetup::new().start().await.expect("a server");
    let mut session = session(&postgres, "paused").await;
    postgres.pause().await.expect("paused");
    let waiting = postgres.command("SELECT 1");
    let waiting = tokio::time::timeout(Duration::from_millis(300), waiting).await;
    assert!(waiting.is_err(), "{waiting:?}");
    // Sessions are processes of their own.
    ask(&mut session, "SELECT 1").await;
    let mut answer = [0; 64];
    let waiting = session.read(&mut answer);
    let waiting = tokio::time::timeout(Duration::from_millis(300), waiting).await;
    assert!(waiting.is_err(), "{waiting:?}");
    postgres.resume().await.expect("resumed");
    assert!(session.read(&mut answer).await.expect("read") > 0);
    assert_eq!(postgres.command("SELECT 1").await.expect("answered"), "1");
}

#[tokio::test]
async fn a_paused_server_can_be_killed() {
    let postgres = PostgresSetup::new().start().await.expect("a server");
    postgres.pause().await.expect("paused");
    if postgres.source() == Source::Process {
        // Docker kills no container that is paused.
        postgres.kill().await.expect("killed");
        postgres.start_again().await.expect("started");
        assert_eq!(postgres.command("SELECT 1").await.expect("answered"), "1");
        postgres.pause().await.expect("paused");
    }
    let address = postgres.address();
    drop(postgres);
    TcpStream::connect(address).await.expect_err("it ended");
}

#[tokio::test]
async fn a_server_is_set_up_as_told() {
    let setup = PostgresSetup::new().password("p@ss 'word\"").max_connections(17);
    let setup =
        setup.setting("deadlock_timeout", "77ms").setting("search_path", "\"it's\", public");
    let postgres = setup.start().await.expect("a server");
    let begin = "postgres://postgres:p%40ss%20%27word%22@127.0.0.1:";
    assert!(postgres.url().starts_with(begin), "{}", postgres.url());
    for (name, value) in [
        ("max_connections", "17"),
        ("deadlock_timeout", "77ms"),
        ("search_path", "\"it's\", public"),
    ] {
        let shown = postgres.command(&format!("SHOW {name}")).await.expect("answered");
        assert_eq!(shown, value);
    }
    assert!(!format!("{postgres:?}").contains("word"), "{postgres:?}");
    let address = postgres.address();
    let wrong = greeted(address, "nobody").await;
    assert!(wrong.starts_with('R') && wrong.contains("SCRAM-SHA-256"), "{wrong}");
}

#[tokio::test]
async fn the_sizes_of_its_memory_and_its_log_are_settings() {
    let settings = [
        ("max_locks_per_transaction", "10"),
        ("max_wal_senders", "0"),
        ("wal_level", "minimal"),
        ("synchronous_commit", "off"),
    ];
    let mut setup = PostgresSetup::new().max_connections(12);
    for (name, value) in settings {
        setup = setup.setting(name, value);
    }
    let postgres = setup.start().await.expect("a server");
    for _ in 0..2 {
        for (name, value) in settings {
            let shown = postgres.command(&format!("SHOW {name}")).await.expect("answered");
            assert_eq!(shown, value, "{name}");
        }
        postgres.kill().await.expect("killed");
        postgres.start_again().await.expect("started, as it was set up");
    }
}

#[tokio::test]
async fn sessions_forget_their_plans_and_nothing_else() {
    let postgres = PostgresSetup::new().start().await.expect("a server");
    postgres.command("CREATE TABLE t (id int PRIMARY KEY)").await.expect("answered");
    let mut session = session(&postgres, "prepared").await;
    for sql in ["SET enable_bitmapscan = off", "PREPARE p AS SELECT id FROM t WHERE id = 1"] {
        ask(&mut session, sql).await;
        until_ready(&mut session).await;
    }
    let mut plan = async |settings: &str| {
        ask(&mut session, &format!("{settings}; EXPLAIN EXECUTE p")).await;
        until_ready(&mut session).await
    };
    assert!(plan("SET enable_seqscan = on").await.contains("Index"));
    let other = "SET enable_indexscan = off; SET enable_indexonlyscan = off";
    assert!(plan(other).await.contains("Index"), "as it was planned");
    postgres.forget_plans().await.expect("answered");
    assert!(plan("SELECT 1").await.contains("Seq Scan"), "planned anew");
}

#[tokio::test]
async fn a_proxy_before_it_comes_between_it_and_its_sessions() {
    let postgres = PostgresSetup::new().start().await.expect("a server");
    postgres.command("CREATE TABLE done (name text)").await.expect("answered");
    let proxy = Proxy::to(postgres.address()).await.expect("a proxy");
    let elsewhere = postgres.child_environment_at(proxy.address());
    let url = postgres.url_at(proxy.address());
    assert!(elsewhere.contains(&("LOCKING_TEST_POSTGRES_URL".to_owned(), url)));
    let mut session = session_at(proxy.address(), "behind a proxy").await;
    ask(&mut session, "SELECT 1").await;
    until_ready(&mut session).await;
    proxy.inject(Fault::Hold { direction: Direction::ToServer });
    ask(&mut session, "SELECT 1").await;
    let waiting = tokio::time::timeout(Duration::from_millis(200), until_ready(&mut session)).await;
    assert!(waiting.is_err(), "nothing arrives");
    proxy.restore();
    until_ready(&mut session).await;
    proxy.inject(Fault::LoseReply { cut: Cut::Reset });
    ask(&mut session, "INSERT INTO done VALUES ('1')").await;
    assert_eq!(ended(&mut session).await, "", "nobody hears of it");
    let done = "SELECT count(*) FROM done";
    assert_eq!(postgres.command(done).await.expect("answered"), "1", "and it was done");
    // It finds the server that was started again.
    postgres.kill().await.expect("killed");
    postgres.start_again().await.expect("started");
    session_at(proxy.address(), "after a crash").await;
}

#[tokio::test]
async fn tls_is_spoken_beside_plain_connections() {
    let names = vec!["127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let postgres = PostgresSetup::new().tls(&certificate, &key).start().await.expect("a server");
    assert_eq!(postgres.tls_url(), Some(postgres.url() + "?sslmode=require"));
    assert_eq!(postgres.command("SHOW ssl").await.expect("answered"), "on");
    let mut stream = TcpStream::connect(postgres.address()).await.expect("connected");
    // The request for TLS, which is answered by one letter.
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await.expect("written");
    assert_eq!(stream.read_u8().await.expect("read"), b'S');
}

#[tokio::test]
async fn a_mistake_in_the_setup_is_told_in_the_servers_words() {
    let began = Instant::now();
    let setup = PostgresSetup::new().setting("no_such_thing", "1");
    let error = setup.start().await.expect_err("wrong");
    assert!(error.to_string().contains("no_such_thing"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(25), "at once: {:?}", began.elapsed());
}

#[tokio::test]
async fn connections_and_commands_are_seen() {
    let postgres = PostgresSetup::new().start().await.expect("a server");
    let before = postgres.commands().await.expect("answered");
    assert_eq!(postgres.commands().await.expect("answered"), before + 1, "the question is one");
    assert_eq!(postgres.connections().await.expect("answered"), 0);
    let mut sessions = [
        session(&postgres, "listener").await,
        session(&postgres, "listener").await,
        session(&postgres, "it's another").await,
    ];
    assert_eq!(postgres.connections().await.expect("answered"), 3);
    let ended = postgres.terminate_backends(Some("listener")).await.expect("answered");
    assert_eq!((ended, postgres.connections().await.expect("answered")), (2, 1));
    assert!(self::ended(&mut sessions[0]).await.contains("57P01"));
    let ended = postgres.terminate_backends(Some("it's another")).await.expect("answered");
    assert_eq!(ended, 1);
    let _session = session(&postgres, "any").await;
    assert_eq!(postgres.terminate_backends(None).await.expect("answered"), 1);
    assert_eq!(postgres.connections().await.expect("answered"), 0);
}

#[tokio::test]
async fn what_functions_execute_is_counted_where_that_is_set() {
    for (track, more) in [("top", 2), ("all", 4)] {
        let setup = PostgresSetup::new().setting("pg_stat_statements.track", track);
        let postgres = setup.start().await.expect("a server");
        let before = postgres.commands().await.expect("answered");
        let two = "DO 'BEGIN PERFORM FROM pg_class; PERFORM FROM pg_type; END'";
        postgres.command(two).await.expect("answered");
        assert_eq!(postgres.commands().await.expect("answered"), before + more, "{track}");
    }
}

#[tokio::test]
async fn databases_are_apart() {
    let postgres = PostgresSetup::new().start().await.expect("a server");
    let url = postgres.create_database("the \"other\"").await.expect("created");
    assert_eq!(url, postgres.database_url("the \"other\""));
    assert!(url.ends_with("/the%20%22other%22"), "{url}");
    postgres.command("CREATE TABLE here (name text)").await.expect("answered");
    let there = "SELECT count(*) FROM pg_tables WHERE tablename = 'here'";
    let count = postgres.command_in("the \"other\"", there).await.expect("answered");
    assert_eq!(count, "0");
    let before = postgres.commands().await.expect("answered");
    postgres.command_in("the \"other\"", "SELECT 1").await.expect("answered");
    assert_eq!(postgres.commands().await.expect("answered"), before + 2, "of all databases");
}

#[tokio::test]
async fn sessions_are_pooled_by_a_pgbouncer() {
    for setup in [PostgresSetup::new(), PostgresSetup::new().password("p@ss \"word\"")] {
        let postgres = setup.start().await.expect("a server");
        let pool = PgBouncer::start(&postgres).await.expect("a PgBouncer");
        assert_eq!(pool.url(), postgres.url_at(pool.address()));
        assert_eq!(pool.source(), Source::Process);
        assert!(!format!("{pool:?}").contains("word"), "{pool:?}");
        let mode = "SHOW CONFIG";
        assert!(pool.console(mode).await.expect("answered").contains("pool_mode"));
        pool.kill().await.expect("killed");
        pool.console("SHOW POOLS").await.expect_err("it is gone");
        postgres.stop().await.expect("stopped");
        pool.start_again().await.expect("started, whatever is behind it");
        let environment = pool.child_environment();
        assert!(environment.contains(&("LOCKING_TEST_POSTGRES_URL".to_owned(), pool.url())));
    }
}

#[tokio::test]
async fn a_pgbouncer_is_set_up_as_told() {
    let postgres = PostgresSetup::new().start().await.expect("a server");
    let setup = PgBouncerSetup::new().setting("default_pool_size", "1");
    let pool = setup.start(&postgres).await.expect("a PgBouncer");
    // Many clients, one session of the server's.
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = TcpStream::connect(pool.address()).await.expect("connected");
        client.write_all(&startup("pooled")).await.expect("written");
        until_ready(&mut client).await;
        ask(&mut client, "SELECT 1").await;
        until_ready(&mut client).await;
        clients.push(client);
    }
    assert_eq!(postgres.connections().await.expect("answered"), 1);
    let error = PgBouncerSetup::new().setting("pool_mode", "none").start(&postgres).await;
    let error = error.expect_err("no such mode").to_string();
    assert!(error.contains("pool_mode") || error.contains("none"), "{error}");
}

#[test]
fn a_server_ends_with_its_handle_outside_a_runtime() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let postgres = runtime.block_on(PostgresSetup::new().start()).expect("a server");
    drop(runtime);
    let address = postgres.address();
    std::net::TcpStream::connect(address).expect("it runs");
    drop(postgres);
    std::net::TcpStream::connect(address).expect_err("it ended");
}

#[tokio::test]
async fn another_process_finds_it_by_its_environment() {
    let postgres = PostgresSetup::new().password("secret").start().await.expect("a server");
    let environment = postgres.child_environment();
    assert!(environment.contains(&("LOCKING_TEST_POSTGRES_URL".to_owned(), postgres.url())));
    assert!(environment.contains(&("LOCKING_TEST_SERVERS".to_owned(), "env".to_owned())));
    let elsewhere = postgres.url_at(([127, 0, 0, 1], 1).into());
    assert_eq!(elsewhere, "postgres://postgres:secret@127.0.0.1:1/postgres");
}

#[test]
fn what_takes_time_can_be_done_on_any_thread() {
    fn on_any_thread<F: Future + Send>(_: impl FnOnce() -> F) {}
    async fn pooled() {
        let postgres = Postgres::start().await.expect("a server");
        PgBouncer::start(&postgres).await.expect("a PgBouncer");
    }

    on_any_thread(Postgres::start);
    on_any_thread(|| PostgresSetup::new().start());
    on_any_thread(pooled);
}

#[tokio::test]
async fn a_server_for_everybody_is_had_too() {
    let postgres = Postgres::start().await.expect("a server");
    if postgres.source() == Source::Environment {
        let error = postgres.kill().await.expect_err("not ours");
        assert!(matches!(error, ServerError::NotOurs { .. }), "{error}");
    }
}

#[test]
fn a_server_ends_when_its_test_is_killed() {
    leashed::ends_with_its_test("holds_a_server_until_it_is_killed");
}

#[test]
fn a_stopped_server_leaves_nothing_when_its_test_is_killed() {
    leashed::leaves_nothing_of_a_stopped_server("stops_a_server_and_waits_until_it_is_killed");
}

#[test]
fn a_start_leaves_nothing_when_its_test_is_killed() {
    leashed::leaves_nothing_of_a_start("stops_a_server_and_waits_until_it_is_killed");
}

#[tokio::test]
#[ignore = "the part of tests above that is killed"]
async fn stops_a_server_and_waits_until_it_is_killed() {
    let postgres = PostgresSetup::new().start().await.expect("a server");
    postgres.stop().await.expect("stopped");
    leashed::wait_at(postgres.address()).await;
}

#[tokio::test]
#[ignore = "the part of `a_server_ends_when_its_test_is_killed` that is killed"]
async fn holds_a_server_until_it_is_killed() {
    let postgres = PostgresSetup::new().start().await.expect("a server");
    // A client may be there, and nothing may move.
    let _session = session(&postgres, "left").await;
    postgres.pause().await.expect("paused");
    leashed::wait_at(postgres.address()).await;
}

/// A session that does nothing, of this application.
async fn session(postgres: &Postgres, application: &str) -> TcpStream {
    session_at(postgres.address(), application).await
}

async fn session_at(address: SocketAddr, application: &str) -> TcpStream {
    let mut session = TcpStream::connect(address).await.expect("connected");
    session.write_all(&startup(application)).await.expect("written");
    until_ready(&mut session).await;
    session
}

/// Waits until a session reads what comes next: until then, it says nothing more if it has to hurry.
async fn until_idle(postgres: &Postgres, application: &str) {
    let reading = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE application_name = '{application}' AND wait_event = 'ClientRead'"
    );
    while postgres.command(&reading).await.expect("answered") != "1" {}
}

async fn ask(session: &mut TcpStream, sql: &str) {
    let length = u32::try_from(sql.len() + 5).expect("a short statement");
    let question = [b"Q", &length.to_be_bytes()[..], sql.as_bytes(), b"\0"].concat();
    session.write_all(&question).await.expect("written");
}

/// What a server says to this application first.
async fn greeted(address: SocketAddr, application: &str) -> String {
    let mut session = TcpStream::connect(address).await.expect("connected");
    session.write_all(&startup(application)).await.expect("written");
    let mut answer = [0; 64];
    let length = session.read(&mut answer).await.expect("read");
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

fn startup(application: &str) -> Vec<u8> {
    let parameters = format!("user\0postgres\0application_name\0{application}\0\0");
    let length = u32::try_from(parameters.len() + 8).expect("a short name");
    // The length with itself, and the version of the protocol.
    [&length.to_be_bytes()[..], &[0, 3, 0, 0], parameters.as_bytes()].concat()
}

/// What the server answers until it is ready for what comes next.
async fn until_ready(session: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    loop {
        let kind = session.read_u8().await.expect("a message");
        let length = session.read_u32().await.expect("its length");
        let mut message = vec![0; length as usize - 4];
        session.read_exact(&mut message).await.expect("its content");
        match kind {
            b'Z' => return String::from_utf8_lossy(&answer).into_owned(),
            b'E' => panic!("{}", String::from_utf8_lossy(&message)),
            _ => answer.extend(message),
        }
    }
}

/// What is said until the session ends.
async fn ended(session: &mut TcpStream) -> String {
    let mut said = Vec::new();
    // A reset is an end too.
    let _ = session.read_to_end(&mut said).await;
    String::from_utf8_lossy(&said).into_owned()
}
