use std::sync::Arc;
use std::time::Duration;

use locking_core::{ConfigurationError, Error, LockingModule, Result};
use locking_testkit::servers::{PgBouncer, Postgres, PostgresSetup};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use super::{connector, id};
use crate::connect::Connector;
use crate::migrate::{MIGRATIONS, check, migrate, migrate_within};
use crate::options::PostgresOptions;
use crate::provider::PostgresProvider;

async fn server() -> Postgres {
    // Roles are made, and sessions counted.
    PostgresSetup::new().start().await.expect("a server")
}

/// The server's address for another of its roles.
fn url_of(server: &Postgres, role: &str) -> String {
    format!("postgres://{role}@{}/postgres", server.address())
}

async fn checked(connector: &Connector, schema: &str) -> Result<()> {
    let (client, connection) = connector.session().await.expect("connected");
    connection.during(async { check(&id(), &{ client }, schema).await }).await
}

async fn execute(server: &Postgres, sql: &str) -> String {
    server.command(sql).await.expect("executed")
}

/// What is wrong with the schema.
fn problem(result: Result<()>) -> String {
    match result.expect_err("refused") {
        Error::Configuration(ConfigurationError::Store { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_missing_is_said_with_what_to_do() {
    let server = server().await;
    let connector = connector(&server.url());
    execute(&server, "CREATE SCHEMA empty").await;
    for schema in ["locking", "empty"] {
        let problem = problem(checked(&connector, schema).await);
        for word in [schema, "module.migrate()", "migrate_at_start", "migrations/*.sql"] {
            assert!(problem.contains(word), "{problem}");
        }
    }
    migrate(&id(), &connector, "locking").await.expect("migrated");
    checked(&connector, "locking").await.expect("nothing is missing");
    let version = execute(&server, "SELECT locking.locking_version()").await;
    assert_eq!(version, MIGRATIONS.len().to_string());
}

#[tokio::test]
async fn an_older_version_is_said() {
    let server = server().await;
    let connector = connector(&server.url());
    execute(
        &server,
        "CREATE SCHEMA old; CREATE FUNCTION old.locking_version() RETURNS int LANGUAGE sql AS 'SELECT 0'",
    )
    .await;
    let problem = problem(checked(&connector, "old").await);
    assert!(problem.contains("version 0") && problem.contains("migrate()"), "{problem}");
}

#[tokio::test]
async fn eight_at_once_are_as_one() {
    let server = server().await;
    for schema in ["one", "two", "three", "user"] {
        let mut all = JoinSet::new();
        for _ in 0..8 {
            let connector = connector(&server.url());
            all.spawn(async move { migrate(&id(), &connector, schema).await });
        }
        for migrated in all.join_all().await {
            migrated.expect("migrated");
        }
        checked(&connector(&server.url()), schema).await.expect("nothing is missing");
        let history = format!("SELECT count(*) FROM \"{schema}\".locking_migrations");
        assert_eq!(execute(&server, &history).await, MIGRATIONS.len().to_string());
    }
}

#[tokio::test]
async fn a_pooler_between_is_no_obstacle() {
    let server = server().await;
    let pooler = PgBouncer::start(&server).await.expect("a pooler");
    let mut options = PostgresOptions::new(pooler.url()).expect("an address");
    options.pgbouncer = true;
    let connector = Connector::new(&options).expect("valid");
    let mut all = JoinSet::new();
    for _ in 0..8 {
        let connector = connector.clone();
        all.spawn(async move {
            migrate(&id(), &connector, "locking").await?;
            checked(&connector, "locking").await
        });
    }
    for migrated in all.join_all().await {
        migrated.expect("migrated");
    }
    // What is set in a session of the server's is set for whoever has it next.
    let (client, connection) = connector.session().await.expect("connected");
    let next = connection.during(async move {
        let sql = "SELECT current_schema(), count(*) FROM pg_locks WHERE locktype = 'advisory'";
        client.simple_query(sql).await.expect("answered")
    });
    let next = next.await;
    let row = next.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((row.get(0), row.get(1))),
        _ => None,
    });
    assert_eq!(row, Some((Some("public"), Some("0"))));
}

#[tokio::test]
async fn one_role_makes_them_and_another_one_uses_them() {
    let server = server().await;
    execute(
        &server,
        "CREATE ROLE owner LOGIN; CREATE ROLE guest LOGIN; GRANT CREATE ON DATABASE postgres TO owner",
    )
    .await;
    migrate(&id(), &connector(&url_of(&server, "owner")), "locking").await.expect("migrated");
    let guest = connector(&url_of(&server, "guest"));
    let before = problem(checked(&guest, "locking").await);
    assert!(before.contains("grant") && before.contains("`USAGE`"), "{before}");
    execute(
        &server,
        "GRANT USAGE ON SCHEMA locking TO guest;
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA locking TO guest;
         GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA locking TO guest;
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA locking TO guest",
    )
    .await;
    checked(&guest, "locking").await.expect("nothing is missing");
    migrate(&id(), &guest, "locking").await.expect("nothing is left to do");
}

#[tokio::test]
async fn a_schema_that_was_made_for_a_role_needs_no_right_on_the_database() {
    let server = server().await;
    execute(&server, "CREATE ROLE tenant LOGIN; CREATE SCHEMA locking AUTHORIZATION tenant").await;
    let tenant = connector(&url_of(&server, "tenant"));
    migrate(&id(), &tenant, "locking").await.expect("migrated");
    checked(&tenant, "locking").await.expect("nothing is missing");
}

#[tokio::test]
async fn who_may_not_is_told_who_may() {
    let server = server().await;
    execute(&server, "CREATE ROLE guest LOGIN; CREATE SCHEMA theirs").await;
    let guest = connector(&url_of(&server, "guest"));
    for schema in ["locking", "theirs"] {
        let problem = problem(migrate(&id(), &guest, schema).await);
        assert!(problem.contains("permission denied") && problem.contains("may"), "{problem}");
    }
}

#[tokio::test]
async fn files_that_were_run_by_hand_are_as_good() {
    let server = server().await;
    let connector = connector(&server.url());
    let by_hand: String = MIGRATIONS.iter().map(|(_, sql)| *sql).collect();
    execute(&server, &format!("CREATE SCHEMA ours; SET search_path = ours; {by_hand}")).await;
    checked(&connector, "ours").await.expect("nothing is missing");
    migrate(&id(), &connector, "ours").await.expect("nothing is left to do");
}

#[tokio::test]
async fn a_newer_database_is_fine() {
    let server = server().await;
    let connector = connector(&server.url());
    migrate(&id(), &connector, "locking").await.expect("migrated");
    let newer =
        "INSERT INTO locking.locking_migrations VALUES (99, 'newer', '2030-01-01T00:00:00Z', '1')";
    execute(&server, newer).await;
    // It waited at the gate meanwhile, and had found none of it before.
    execute(&server, "DROP FUNCTION locking.locking_version()").await;
    migrate_within("1s", &id(), &connector, "locking").await.expect("nothing is left to do");
    execute(
        &server,
        "CREATE FUNCTION locking.locking_version() RETURNS int LANGUAGE sql AS 'SELECT 99'",
    )
    .await;
    checked(&connector, "locking").await.expect("nothing is missing");
    migrate(&id(), &connector, "locking").await.expect("nothing is left to do");
}

#[tokio::test]
async fn what_is_not_ours_is_left_as_it_is() {
    let server = server().await;
    let connector = connector(&server.url());
    for table in [
        // Somebody else's history, and tables of the same name.
        "locking_migrations (version int, name text, applied_on text, checksum text); INSERT INTO theirs.locking_migrations VALUES (1, 'init', '2025', '17')",
        "locking_migrations (version int, name text, applied_on text, checksum text); INSERT INTO theirs.locking_migrations VALUES (1, NULL, 'never', 'none')",
        "locking_migrations (id int)",
        "locking (name text)",
    ] {
        execute(&server, &format!("CREATE SCHEMA theirs; CREATE TABLE theirs.{table}")).await;
        let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'theirs'::regnamespace";
        let before = execute(&server, tables).await;
        let problem = problem(migrate(&id(), &connector, "theirs").await);
        assert!(problem.contains("`theirs"), "{problem}");
        assert_eq!(execute(&server, tables).await, before, "nothing was made");
        execute(&server, "DROP SCHEMA theirs CASCADE").await;
    }
}

#[tokio::test]
async fn the_gate_is_not_waited_for_without_end() {
    let server = server().await;
    let connector = connector(&server.url());
    let (holder, connection) = connector.session().await.expect("connected");
    tokio::spawn(connection.run());
    let gate = "SELECT pg_advisory_lock(hashtextextended('locking', 30521770279267943))";
    holder.batch_execute(gate).await.expect("locked");
    let waited = migrate_within("100ms", &id(), &connector, "locking").await;
    let Err(Error::Unavailable { source, .. }) = waited else { panic!("{waited:?}") };
    assert!(source.to_string().contains("somebody else"), "{source}");
    // Another schema has another gate.
    migrate_within("100ms", &id(), &connector, "other").await.expect("migrated");
}

#[tokio::test]
async fn a_migration_that_is_given_up_leaves_nothing() {
    let server = server().await;
    let connector = connector(&server.url());
    let (holder, connection) = connector.session().await.expect("connected");
    tokio::spawn(connection.run());
    // Another one can't be made before this ends.
    holder.batch_execute("BEGIN; CREATE SCHEMA locking").await.expect("made");
    let migration = {
        let connector = connector.clone();
        tokio::spawn(async move { migrate(&id(), &connector, "locking").await })
    };
    wait_for(&server, 2).await;
    sleep(Duration::from_millis(100)).await;
    migration.abort();
    assert!(migration.await.expect_err("aborted").is_cancelled());
    holder.batch_execute("ROLLBACK").await.expect("rolled back");
    wait_for(&server, 1).await;
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'locking'";
    assert_eq!(execute(&server, schemas).await, "0");
    migrate(&id(), &connector, "locking").await.expect("the gate is open");
    wait_for(&server, 1).await;
}

#[tokio::test]
async fn a_migration_that_is_given_up_at_any_moment_can_be_run_again() {
    let server = server().await;
    let connector = connector(&server.url());
    for step in 0..400_u64 {
        let schema = format!("step_{step}");
        let moment = Duration::from_micros(50 * step * step);
        let given_up = timeout(moment, migrate(&id(), &connector, &schema)).await;
        let again = timeout(Duration::from_secs(5), migrate(&id(), &connector, &schema)).await;
        again.expect("the gate is open").expect("migrated");
        checked(&connector, &schema).await.expect("nothing is missing");
        if let Ok(answer) = given_up {
            return answer.expect("migrated");
        }
    }
    panic!("it was given up each time");
}

/// Until there are as many sessions of clients.
async fn wait_for(server: &Postgres, sessions: u64) {
    let reached = async {
        while server.connections().await.expect("counted") != sessions {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), reached).await.expect("in time");
}

#[tokio::test]
async fn a_role_that_is_not_there_is_the_servers_answer() {
    let server = server().await;
    let connector = connector(&url_of(&server, "nobody_of_that_name"));
    let failure = connector.session().await.map(drop).expect_err("refused");
    assert_eq!(failure.code(), Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION));
    let error = migrate(&id(), &connector, "locking").await.expect_err("refused");
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_module_begins_without_the_tables_and_makes_them() {
    let server = server().await;
    let options = PostgresOptions::new(server.url()).expect("a URL");
    let provider = PostgresProvider::connect(id(), options).await.expect("the server is there");
    let module = LockingModule::with_provider(Arc::new(provider));
    let problem = problem(module.acquire("k").await.map(drop));
    assert!(problem.contains("module.migrate()"), "{problem}");
    module.migrate().await.expect("made");
    let lease = module.acquire("k").await.expect("free");
    assert!(module.release_lease(&lease).await.expect("answered"));
}
