use std::sync::Arc;
use std::time::Duration;

use locking_core::Error;
use locking_testkit::servers::{PgBouncer, Postgres, PostgresSetup};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, SimpleQueryMessage};

use super::{connector, id};
use crate::connect::Connector;
use crate::failure::Failure;
use crate::options::PostgresOptions;

async fn server() -> Postgres {
    PostgresSetup::new().start().await.expect("a server")
}

async fn client(connector: &Connector) -> Client {
    let (client, connection) = connector.session().await.expect("connected");
    tokio::spawn(connection.run());
    client
}

async fn show(client: &Client, setting: &str) -> String {
    let answer = client.simple_query(&format!("SHOW {setting}")).await.expect("answered");
    answer
        .iter()
        .find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .expect("a row")
}

#[tokio::test]
async fn sessions_are_set_up_whatever_the_defaults_are() {
    let server = server().await;
    let defaults = "ALTER ROLE postgres SET default_transaction_isolation = 'serializable';
                    ALTER ROLE postgres SET synchronous_commit = 'off';
                    ALTER ROLE postgres SET default_transaction_read_only = 'on'";
    server.command(defaults).await.expect("set");
    let one = client(&connector(&server.url())).await;
    let two = connector(&server.url()).pool().get().await.expect("connected");
    for client in [&one, &**two] {
        assert_eq!(show(client, "transaction_isolation").await, "read committed");
        assert_eq!(show(client, "transaction_read_only").await, "off");
        assert_eq!(show(client, "synchronous_commit").await, "on");
        assert_eq!(show(client, "application_name").await, "locking");
    }
}

#[tokio::test]
async fn a_host_that_says_nothing_does_not_keep_from_the_next() {
    let server = server().await;
    // It takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let silent = format!("127.0.0.1:{}", silent.local_addr().expect("bound").port());
    let url = server.url();
    let (before, after) = url.split_once('@').expect("a user");
    let connector = connector(&format!("{before}@{silent},{after}"));
    let pool = connector.pool();
    // Each is given up before all hosts were tried.
    let give_up = Instant::now() + Duration::from_secs(20);
    while timeout(Duration::from_secs(1), pool.get()).await.is_err() {
        assert!(Instant::now() < give_up, "the second host works");
    }
    timeout(Duration::from_secs(1), connector.session())
        .await
        .expect("known to work")
        .expect("connected");
}

#[tokio::test]
async fn what_the_address_sets_stays() {
    let server = server().await;
    let url = format!("{}?application_name=till&options=-c%20work_mem%3D2MB", server.url());
    let client = client(&connector(&url)).await;
    assert_eq!(show(&client, "application_name").await, "till");
    assert_eq!(show(&client, "work_mem").await, "2MB");
    assert_eq!(show(&client, "synchronous_commit").await, "on");
}

#[tokio::test]
async fn a_pooler_is_asked_for_nothing_that_it_does_not_know() {
    let server = server().await;
    let pooler = PgBouncer::start(&server).await.expect("a pooler");
    let mut options = PostgresOptions::new(pooler.url()).expect("an address");
    connector(&pooler.url()).session().await.map(drop).expect_err("it knows no options");
    options.pgbouncer = true;
    let client = client(&Connector::new(&options).expect("valid")).await;
    assert_eq!(show(&client, "application_name").await, "locking");
}

#[tokio::test]
async fn whoever_polls_a_session_hears_what_is_told() {
    let server = server().await;
    let (client, mut connection) = connector(&server.url()).session().await.expect("connected");
    let client = tokio::spawn(async move {
        client.batch_execute("LISTEN here; NOTIFY here, 'told'").await.expect("listening");
    });
    let mut heard = Vec::new();
    // It ends with its client.
    while let Some(message) = connection.message().await {
        if let AsyncMessage::Notification(told) = message.expect("fine") {
            heard.push(told.payload().to_owned());
        }
    }
    assert_eq!(heard, ["told"]);
    client.await.expect("listening");
}

#[tokio::test]
async fn what_runs_is_cancelled() {
    let server = server().await;
    let connector = connector(&server.url());
    let client = Arc::new(client(&connector).await);
    let sleeping = {
        let client = client.clone();
        tokio::spawn(async move { client.batch_execute("SELECT pg_sleep(60)").await })
    };
    while !sleeping.is_finished() {
        connector.cancel(&client).await.expect("asked");
        sleep(Duration::from_millis(20)).await;
    }
    let failure = Failure::from(sleeping.await.expect("ended").expect_err("cancelled"));
    assert!(matches!(failure, Failure::Refused(_)), "{failure:?}");
    assert_eq!(failure.code(), Some(&SqlState::QUERY_CANCELED));
}

#[tokio::test]
async fn a_pool_has_its_size_and_waits_no_longer_than_a_command() {
    let server = server().await;
    let mut options = PostgresOptions::new(server.url()).expect("an address");
    options.pool.max_size = 2;
    options.command_timeout = Duration::from_millis(200);
    let pool = Connector::new(&options).expect("valid").pool();
    let (_one, two) = (pool.get().await.expect("free"), pool.get().await.expect("free"));
    let begun = Instant::now();
    let failure = Failure::from(pool.get().await.map(drop).expect_err("none is free"));
    assert!(begun.elapsed() < Duration::from_secs(2), "it waited {:?}", begun.elapsed());
    assert!(failure.to_string().contains("pool"), "{failure}");
    assert!(matches!(failure.into_error(&id()), Error::Unavailable { .. }));
    drop(two);
    let _two = pool.get().await.expect("free again");
    assert_eq!(server.connections().await.expect("counted"), 2);
}

#[tokio::test]
async fn what_the_server_refuses_was_not_done() {
    let server = server().await;
    let client = client(&connector(&server.url())).await;
    let failure = Failure::from(client.batch_execute("SELECT 1 / 0").await.expect_err("refused"));
    let shown = failure.to_string();
    assert!(shown.contains("division by zero") && shown.contains("22012"), "{shown}");
    assert!(matches!(failure.into_error(&id()), Error::Unavailable { .. }));
    let full = "DO $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$";
    let failure = Failure::from(client.batch_execute(full).await.expect_err("refused"));
    assert!(matches!(failure.into_error(&id()), Error::CapacityExceeded { .. }));
}

#[tokio::test]
async fn a_session_that_is_ended_may_have_done_it() {
    let server = server().await;
    let client = client(&connector(&server.url())).await;
    let statement = client.batch_execute("SELECT pg_terminate_backend(pg_backend_pid())");
    let failure = Failure::from(statement.await.expect_err("ended"));
    assert_eq!(failure.code(), Some(&SqlState::ADMIN_SHUTDOWN));
    assert!(matches!(failure.into_error(&id()), Error::UnknownOutcome { .. }));
    let failure = Failure::from(client.batch_execute("SELECT 1").await.expect_err("closed"));
    assert!(matches!(failure.into_error(&id()), Error::UnknownOutcome { .. }));
}

#[tokio::test]
async fn a_server_without_room_for_a_session_was_asked_nothing() {
    let setup =
        PostgresSetup::new().max_connections(5).setting("superuser_reserved_connections", "3");
    let server = setup.start().await.expect("a server");
    server.command("CREATE ROLE guest LOGIN").await.expect("made");
    let guest = connector(&format!("postgres://guest@{}/postgres", server.address()));
    let _sessions = (client(&guest).await, client(&guest).await);
    let failure = guest.session().await.map(drop).expect_err("full");
    assert_eq!(failure.code(), Some(&SqlState::TOO_MANY_CONNECTIONS));
    assert!(matches!(failure.into_error(&id()), Error::Unavailable { .. }));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("an address");
    let mut options = PostgresOptions::new(format!("postgres://u@{address}/")).expect("valid");
    options.connect_timeout = Duration::from_millis(200);
    let connector = Connector::new(&options).expect("valid");
    let begun = Instant::now();
    let session = connector.session().await.map(drop).expect_err("nobody answers");
    let pooled = connector.pool().get().await.map(drop).expect_err("nobody answers");
    assert!(begun.elapsed() < Duration::from_secs(3), "it took {:?}", begun.elapsed());
    for failure in [session, Failure::from(pooled)] {
        assert!(matches!(failure.into_error(&id()), Error::Unavailable { .. }));
    }
}

#[tokio::test]
async fn a_port_that_nobody_listens_at_is_said_with_its_cause() {
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("it");
    let connector = connector(&format!("postgres://u:secret@{port}/"));
    let failure = connector.session().await.map(drop).expect_err("nobody there");
    let Error::Unavailable { source, .. } = failure.into_error(&id()) else { panic!("another") };
    let shown = format!("{source:?} {source}");
    assert!(shown.contains("no connection") && shown.contains("ConnectionRefused"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}
