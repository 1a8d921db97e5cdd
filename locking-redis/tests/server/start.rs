//! What a start finds out of a server, and what it makes of that.

use locking_core::{Capability, Error, LockingProvider};
use locking_testkit::servers::{Redis, RedisSetup};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tracing::Level;

use crate::capture::{Capture, Entry};
use crate::users::with_the_guides_user;
use crate::{asked, configured, provider, server, until_nobody_is_connected};

const ESTABLISHED: &str = "Connection to Redis in \"locking-redis\" provider established";

/// Of a start that succeeds: what it warned of, and what it said at its end.
async fn started(url: &str) -> (Vec<Entry>, Entry) {
    let capture = Capture::start();
    let provider = provider(url).await.expect("it will do");
    provider.close().await.expect("closed");
    let end = capture.events(Level::INFO, ESTABLISHED).pop().expect("told");
    (capture.events(Level::WARN, ""), end)
}

/// A server that knows none of these commands.
async fn without(commands: &[&str]) -> Redis {
    let setup = commands.iter().fold(RedisSetup::new(), |setup, command| {
        setup.argument("rename-command", &format!("{command} \"\""))
    });
    setup.start().await.expect("a server")
}

async fn version(server: &Redis) -> String {
    let info = asked(server, &["INFO", "server"]).await;
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
    version.expect("it says so").trim().to_owned()
}

/// The URL of a way to the server on which one text in what it says becomes another one.
async fn in_disguise(server: &Redis, said: &str, shown: &str) -> String {
    assert_eq!(said.len(), shown.len(), "a reply says how long its texts are");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("redis://{}", listener.local_addr().expect("bound"));
    let (address, said, shown) = (server.address(), said.to_owned(), shown.to_owned());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(address).await.expect("the server is there");
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let (said, shown) = (said.clone(), shown.clone());
            tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
            tokio::spawn(async move {
                let mut piece = vec![0; 1 << 16];
                while let Ok(length @ 1..) = from_server.read(&mut piece).await {
                    let piece = String::from_utf8_lossy(&piece[..length]).replace(&said, &shown);
                    if to_client.write_all(piece.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn a_server_older_than_redis_7_is_refused_with_the_version_that_it_has() {
    // The one says it by `HELLO`, the other by `INFO` alone.
    for server in [server().await, without(&["HELLO"]).await] {
        let version = version(&server).await;
        let old = format!("6{}", &version[1..]);
        let url = in_disguise(&server, &version, &old).await;
        let refused = configured(&url, &[]).await.expect_err("too old");
        assert!(matches!(refused, Error::Configuration(_)), "{refused:?}");
        let said = refused.to_string();
        assert!(
            said.contains(&format!("version {old},")) && said.contains("7.0 or later"),
            "{said}"
        );
        until_nobody_is_connected(&server).await;
    }
}

#[tokio::test]
async fn a_node_of_a_cluster_is_refused_whatever_its_user_may_ask() {
    let setup = RedisSetup::new().argument("cluster-enabled", "yes");
    let (server, url) = with_the_guides_user(setup).await;
    let refused = configured(&url, &[]).await.expect_err("not supported");
    assert!(matches!(refused, Error::Configuration(_)), "{refused:?}");
    assert!(refused.to_string().contains("cluster"), "{refused}");
    until_nobody_is_connected(&server).await;
}

#[tokio::test]
async fn a_user_without_any_right_to_ask_hears_the_version_all_the_same() {
    let (server, url) = with_the_guides_user(RedisSetup::new()).await;
    asked(&server, &["ACL", "SETUSER", "locks", "-hello", "-info"]).await;
    let (warned, established) = started(&url).await;
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].field("message").contains("doesn't tell its `maxmemory-policy`"));
    assert_eq!(established.field("server_version"), version(&server).await);
}

#[tokio::test]
async fn a_server_without_hello_says_what_it_is_by_info() {
    let server = without(&["HELLO"]).await;
    let (warned, established) = started(&server.url()).await;
    assert!(warned.is_empty(), "{warned:?}");
    assert_eq!(established.field("server_version"), version(&server).await);
}

#[tokio::test]
async fn a_server_that_does_not_say_what_it_is_is_warned_of_and_works() {
    let server = without(&["HELLO", "INFO"]).await;
    let (warned, established) = started(&server.url()).await;
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert_eq!(warned[0].field("provider"), "locking-redis");
    assert_eq!(warned[0].field("unknown"), "version, mode");
    let message = warned[0].field("message");
    assert!(message.contains("make sure that it is Redis 7.0 or later"), "{message}");
    assert!(message.contains("no node of a cluster"), "{message}");
    assert!(!established.fields.contains_key("server_version"), "{established:?}");

    let module = configured(&server.url(), &[]).await.expect("it may do");
    module.execute("k", |_| async {}).await.expect("free");
}

#[tokio::test]
async fn a_server_that_does_not_say_whether_it_evicts_locks_is_warned_of_and_works() {
    let server = without(&["CONFIG", "INFO"]).await;
    let (warned, _) = started(&server.url()).await;
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert_eq!(warned[0].field("provider"), "locking-redis");
    assert!(warned[0].field("error").contains("unknown command"), "{warned:?}");
    assert!(warned[0].field("message").contains("`noeviction`"), "{warned:?}");

    let module = configured(&server.url(), &[]).await.expect("it will do");
    module.execute("k", |_| async {}).await.expect("free");
}

#[tokio::test]
async fn a_server_without_config_says_by_info_whether_it_evicts_locks() {
    // As with servers that somebody else runs.
    let server = without(&["CONFIG"]).await;
    let capture = Capture::start();
    provider(&server.url()).await.expect("it will do");
    assert_eq!(capture.events(Level::WARN, "").len(), 0);
    let unclaimed = &capture.events(Level::INFO, "survive a restart")[0];
    let unknown = unclaimed.field("unknown");
    assert_eq!(unknown, "appendonly, appendfsync, no-appendfsync-on-rewrite");

    let evicting = RedisSetup::new().argument("maxmemory-policy", "allkeys-lru");
    let evicting = evicting.argument("rename-command", "CONFIG \"\"").start().await;
    let (warned, _) = started(&evicting.expect("a server").url()).await;
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert_eq!(warned[0].field("policy"), "allkeys-lru");
}

#[tokio::test]
async fn what_a_server_says_of_its_configuration_counts_where_the_rest_is_missing() {
    let server = RedisSetup::new().durable().argument("maxmemory-policy", "allkeys-lru");
    let server = server.start().await.expect("a durable server");

    let url = in_disguise(&server, "maxmemory-policy", "maxmemory-absent").await;
    let (warned, established) = started(&url).await;
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert_eq!(warned[0].field("policy"), "allkeys-lru");
    let survives = Capability::SurvivesRestart.name();
    assert!(established.field("capabilities").contains(survives), "{established:?}");

    let url = in_disguise(&server, "appendfsync", "appendabsen").await;
    let (warned, established) = started(&url).await;
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(!established.field("capabilities").contains(survives), "{established:?}");
}

#[tokio::test]
async fn the_end_of_a_start_says_what_was_found_and_which_client_it_is() {
    let secret = "nobody-reads-this";
    let server = RedisSetup::new().durable().password(secret).start().await.expect("a server");
    let capture = Capture::start();
    let module = configured(&server.url(), &[]).await.expect("it will do");
    let established = capture.events(Level::INFO, ESTABLISHED).pop().expect("told");
    assert_eq!(established.field("server_version"), version(&server).await);
    let claims = module.capabilities_of("locking-redis").expect("configured").to_string();
    assert!(
        claims.contains("fencing, notified") && claims.contains("survives_restart"),
        "{claims}"
    );
    assert_eq!(established.field("capabilities"), claims);

    let client = established.field("client_id");
    assert_eq!(client.len(), 16, "{client}");
    let _guard = module.lock("k").await.expect("free");
    let held = asked(&server, &["GET", "medusa_lock:k"]).await;
    let request = held.split('|').nth(3).expect("a hold of ours");
    assert!(request.starts_with(client), "{client}: {held}");
    assert!(!capture.everything().contains(secret));
}
