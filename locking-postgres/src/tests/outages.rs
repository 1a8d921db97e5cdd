//! What an operator reads of the connection to the server, and of its end.

use std::time::Duration;

use locking_core::LockingProvider;
use locking_testkit::servers::Postgres;
use tokio::time::{sleep, timeout};
use tracing::Level;

use super::capture::{Capture, Entry};
use super::{id, lease, options, provider, server};
use crate::options::PostgresOptions;

/// The address of a database to which the server can be made to refuse connections, while it goes on.
async fn shop(server: &Postgres) -> String {
    let url = server.create_database("shop").await.expect("created");
    // The server asks for no password.
    let url = url.replacen("://postgres@", "://postgres:hunter2@", 1);
    assert!(url.contains("hunter2"), "{url}");
    url
}

async fn end_sessions(server: &Postgres) {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE application_name LIKE '%locking session'";
    assert_eq!(server.command(sql).await.expect("ended"), "1");
}

async fn eventually(condition: impl Fn() -> bool) {
    let fulfilled = async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), fulfilled).await.expect("it comes about");
}

/// Whose session it is, and what the server said to the attempt.
fn assert_tells_why(said: &Entry) {
    assert_eq!(said.field("provider"), id().as_str(), "{said:?}");
    let error = said.field("error");
    let told = error.starts_with("the PostgreSQL server answered `") && error.ends_with("(55000)");
    assert!(told, "nothing else, and nothing twice: {error}");
}

#[tokio::test]
async fn an_outage_is_warned_of_once_with_its_cause_and_its_end_is_told_once() {
    let server = server().await;
    let mut options = PostgresOptions::new(shop(&server).await).expect("an address");
    options.migrate_at_start = true;
    let heard = Capture::start();
    let provider = provider(options).await;
    for outage in 1..=2 {
        let refuse = "ALTER DATABASE shop ALLOW_CONNECTIONS";
        server.command(&format!("{refuse} false")).await.expect("altered");
        end_sessions(&server).await;
        let tries = || heard.events(Level::DEBUG, "still no session").len();
        let before = tries();
        eventually(|| tries() > before + 2).await;
        assert_eq!(heard.events(Level::INFO, "again").len(), outage - 1, "it goes on");
        server.command(&format!("{refuse} true")).await.expect("altered");
        eventually(|| heard.events(Level::INFO, "again").len() == outage).await;
        let warnings = heard.events(Level::WARN, "no session");
        assert_eq!(warnings.len(), outage, "one for each outage: {warnings:?}");
    }
    provider.acquire(lease("k")).await.expect("granted");
    provider.close().await.expect("closed");
    let (warnings, ends) =
        (heard.events(Level::WARN, "no session"), heard.events(Level::INFO, "again"));
    assert_eq!((warnings.len(), ends.len()), (2, 2), "{warnings:?} {ends:?}");
    warnings
        .iter()
        .chain(&heard.events(Level::DEBUG, "still no session"))
        .for_each(assert_tells_why);
    assert_eq!(ends[0].field("provider"), id().as_str());
    let everything = heard.everything();
    assert!(!everything.contains("hunter2"), "{everything}");
}

#[tokio::test]
async fn a_session_that_is_there_again_at_the_first_try_is_no_outage() {
    let server = server().await;
    let heard = Capture::start();
    let provider = provider(options(&server)).await;
    let joined = async || {
        let sql = "SELECT max(client) FROM locking.locking_session";
        server.command(sql).await.expect("answered")
    };
    let before = joined().await;
    end_sessions(&server).await;
    let another = async {
        while joined().await == before {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), another).await.expect("it is opened again");
    provider.close().await.expect("closed");
    let ended = heard.events(Level::DEBUG, "the session with the PostgreSQL server has ended");
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!(ended[0].field("provider"), id().as_str());
    let loud =
        [heard.events(Level::WARN, "no session"), heard.events(Level::INFO, "again")].concat();
    assert!(loud.is_empty(), "{loud:?}");
}

#[tokio::test]
async fn a_heartbeat_that_is_refused_is_warned_of_with_the_cause() {
    let server = server().await;
    let heard = Capture::start();
    let mut options = options(&server);
    options.takeover.heartbeat = Duration::from_millis(100);
    let provider = provider(options).await;
    let command = async |sql: &str| server.command(sql).await.expect("executed");
    command("ALTER FUNCTION locking.locking_beat RENAME TO elsewhere").await;
    let refused = || heard.events(Level::WARN, "refused a heartbeat");
    eventually(|| !refused().is_empty()).await;
    command("ALTER FUNCTION locking.elsewhere RENAME TO locking_beat").await;
    provider.close().await.expect("closed");
    let refused = &refused()[0];
    assert_eq!(refused.field("provider"), id().as_str());
    let error = refused.field("error");
    assert!(error.contains("locking_beat") && error.contains("(42883)"), "{error}");
}

#[tokio::test]
async fn a_connection_is_told_with_what_it_leads_to_and_who_this_client_is_there() {
    let server = server().await;
    let heard = Capture::start();
    let provider = provider(options(&server)).await;
    let told = heard.events(Level::INFO, "Connection to PostgreSQL in \"locking-postgres\"");
    assert_eq!(told.len(), 1, "{told:?}");
    let field = |name| told[0].field(name);
    assert_eq!(field("provider"), id().as_str());
    let version = server.command("SHOW server_version").await.expect("answered");
    assert_eq!(field("server_version"), version);
    assert_eq!(field("capabilities"), provider.capabilities().to_string());
    provider.acquire(lease("k")).await.expect("granted");
    let asked = "SELECT left(request, 16) FROM locking.locking_held";
    assert_eq!(server.command(asked).await.expect("answered"), field("client_id"));
}
