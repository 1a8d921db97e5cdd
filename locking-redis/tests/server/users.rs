//! Who the client is, and what it may do.

use std::sync::Arc;
use std::time::Duration;

use locking_core::{Capability, Error, LockingModule, LockingProvider, ProviderId, async_trait};
use locking_redis::{CAPABILITIES, IDENTIFIER, RedisOptions, RedisProvider};
use locking_testkit::servers::{Redis, RedisSetup};
use locking_testkit::{CASES, Harness, Outcome, Scale, run_case};
use serde_json::{Value, json};
use tracing::Level;

use crate::capture::Capture;
use crate::{SOON, asked, configured, provider, server, until_nobody_is_connected};

/// A user and its password, and both as a URL has them.
const USER: &str = "us@er";
const PASSWORD: &str = "p@ss:/w%41#?é";
const IN_A_URL: [&str; 2] = ["us%40er", "p%40ss%3A%2Fw%2541%23%3F%C3%A9"];

/// Connects with this before the URL's host, and these options beside it.
async fn connect(
    server: &Redis,
    login: &str,
    redis_options: Value,
) -> locking_core::Result<LockingModule> {
    let url = format!("redis://{login}{}", server.address());
    configured(&url, &[("redis_options", redis_options)]).await
}

/// The users of a client's connections.
async fn users(server: &Redis, login: &str, redis_options: Value) -> Vec<String> {
    let module = connect(server, login, redis_options).await.expect("let in");
    module.execute("k", |_| async {}).await.expect("free");
    let clients = asked(server, &["CLIENT", "LIST"]).await;
    // But for the one that asks.
    let clients = clients.lines().filter(|client| !client.contains(" cmd=client|list "));
    let users = clients.filter_map(|client| {
        client.split(' ').find_map(|word| word.strip_prefix("user=")).map(str::to_owned)
    });
    let users = users.collect();
    module.close(SOON).await.expect("closed");
    until_nobody_is_connected(server).await;
    users
}

#[tokio::test]
async fn a_user_and_a_password_stand_in_the_url_or_beside_it() {
    let server = server().await;
    let password = format!(">{PASSWORD}");
    asked(&server, &["ACL", "SETUSER", USER, "on", &password, "~*", "&*", "+@all"]).await;
    let [user, password] = IN_A_URL;
    for (login, beside) in [
        (format!("{user}:{password}@"), json!({})),
        (format!("{user}@"), json!({ "password": PASSWORD })),
        (format!(":{password}@"), json!({ "username": USER })),
        (String::new(), json!({ "username": USER, "password": PASSWORD })),
    ] {
        let found = users(&server, &login, beside).await;
        assert_eq!(found, [USER, USER], "`{login}`");
    }
}

#[tokio::test]
async fn what_stands_beside_the_url_goes_before_what_is_in_it() {
    let server = server().await;
    for user in ["one", "two"] {
        let password = format!(">of-{user}");
        asked(&server, &["ACL", "SETUSER", user, "on", &password, "~*", "&*", "+@all"]).await;
    }
    let beside = json!({ "username": "two", "password": "of-two" });
    assert_eq!(users(&server, "one:of-one@", beside).await, ["two", "two"]);
    let beside = json!({ "password": "of-two" });
    assert_eq!(users(&server, "two:of-one@", beside).await, ["two", "two"]);
}

#[tokio::test]
async fn a_user_without_a_password_is_that_user_and_no_other() {
    let server = server().await;
    asked(&server, &["ACL", "SETUSER", "locks", "on", "nopass", "~*", "&*", "+@all"]).await;
    for (login, beside) in [("locks@", json!({})), ("", json!({ "username": "locks" }))] {
        assert_eq!(users(&server, login, beside).await, ["locks", "locks"], "`{login}`");
    }
    let refused = connect(&server, "nobody@", json!({})).await.expect_err("there is none");
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why_and_no_password_is_shown() {
    let server = RedisSetup::new().password("right-secret").start().await.expect("a server");
    asked(&server, &["ACL", "SETUSER", "locks", "on", ">right-secret", "~*", "&*", "+@all"]).await;
    asked(&server, &["ACL", "SETUSER", "gone", "off", ">right-secret", "~*", "&*", "+@all"]).await;
    for (login, beside, why) in [
        (":wrong-secret@", json!({}), "WRONGPASS"),
        ("locks:wrong-secret@", json!({}), "WRONGPASS"),
        ("nobody:right-secret@", json!({}), "WRONGPASS"),
        ("gone:right-secret@", json!({}), "WRONGPASS"),
        ("", json!({ "password": "wrong-secret" }), "WRONGPASS"),
        ("", json!({ "username": "locks", "password": "wrong-secret" }), "WRONGPASS"),
        ("locks:right-secret@", json!({ "password": "wrong-secret" }), "WRONGPASS"),
        ("locks@", json!({}), "WRONGPASS"),
        ("", json!({}), "NOAUTH"),
    ] {
        let capture = Capture::start();
        let refused = connect(&server, login, beside.clone()).await.expect_err("not let in");
        assert!(matches!(refused, Error::Unavailable { .. }), "{login} {beside}: {refused:?}");
        let mut shown = format!("{refused} {refused:?}");
        let mut source = std::error::Error::source(&refused);
        while let Some(error) = source {
            shown.push_str(&format!(" {error} {error:?}"));
            source = error.source();
        }
        assert!(shown.contains(why), "{login} {beside}: {shown}");
        shown.push_str(&capture.everything());
        assert!(!shown.contains("-secret"), "{login} {beside}: {shown}");
    }
    until_nobody_is_connected(&server).await;
}

/// What the guide for operators says that a user needs.
fn rights() -> Vec<&'static str> {
    let mut guide = include_str!("../../../docs/operations.md").lines();
    let rights = guide.find_map(|line| line.strip_prefix("ACL SETUSER locks on >secret "));
    rights.expect("the guide names them").split_whitespace().collect()
}

/// The commands that the server denied, but for those that the guide leaves to choice.
async fn denied(server: &Redis) -> Vec<String> {
    let log = asked(server, &["ACL", "LOG"]).await;
    let lines: Vec<_> = log.lines().collect();
    // What was denied stands behind the word `object`.
    let denied = lines.windows(2).filter(|two| two[0] == "object").map(|two| two[1]);
    denied.filter(|it| !["config|get", "info"].contains(it)).map(str::to_owned).collect()
}

/// A server with the guide's user, and the address by which it comes.
pub(crate) async fn with_the_guides_user(setup: RedisSetup) -> (Redis, String) {
    let server = setup.start().await.expect("a server");
    let words = ["ACL", "SETUSER", "locks", "on", ">secret"];
    asked(&server, &[&words, rights().as_slice()].concat()).await;
    let url = format!("redis://locks:secret@{}", server.address());
    (server, url)
}

#[test]
fn every_command_of_the_script_is_among_the_rights_that_a_user_needs() {
    let rights = rights();
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lua")).expect("there");
    let mut commands = 0;
    for file in files {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("text");
        for command in text.split("call('").skip(1) {
            let command = command.split('\'').next().unwrap_or_default().to_lowercase();
            let right = format!("+{command}");
            assert!(rights.contains(&right.as_str()), "{right} is missing");
            commands += 1;
        }
    }
    assert!(commands > 50, "{commands} were found");
}

#[tokio::test]
async fn a_user_with_rights_to_its_namespace_alone_can_lock() {
    let (server, url) = with_the_guides_user(RedisSetup::new()).await;
    let url = format!("{url}/1");
    let module = configured(&url, &[]).await.expect("its rights are enough to connect");
    asked(&server, &["SCRIPT", "FLUSH"]).await;
    let guard = module.lock(["a", "b"]).await.expect("free");
    let waiting = {
        let module = module.clone();
        tokio::spawn(async move { module.acquire("a").owner("o").wait(SOON * 5).await })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    guard.release().await.expect("given back");
    waiting.await.expect("no panic").expect("granted");
    assert_eq!(module.list().await.expect("answered").len(), 1);
    assert_eq!(module.release_all().owner("o").await.expect("answered"), 1);

    // One that is about to end is looked at more closely.
    module.acquire("a").owner("o").expire(Duration::from_millis(300)).await.expect("free");
    module.acquire(["a", "b"]).owner("o").await.expect("its own, and free");
    module.close(SOON).await.expect("closed");
    assert_eq!(denied(&server).await, [""; 0]);
}

/// Clients by the guide's user.
struct Restricted(String);

#[async_trait]
impl Harness for Restricted {
    async fn connect(&self, space: &str) -> Arc<dyn LockingProvider> {
        let options = RedisOptions::new(&self.0).expect("a URL");
        // The guide's patterns are those of the default namespace.
        let namespace = format!("{}{space}:", options.namespace());
        let options = options.with_namespace(namespace).expect("a namespace");
        let id = ProviderId::new(IDENTIFIER).expect("an id");
        Arc::new(RedisProvider::connect(id, options).await.expect("its rights are enough"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_rights_of_the_guide_keeps_the_contract() {
    let (server, url) = with_the_guides_user(RedisSetup::new()).await;
    let harness: Arc<dyn Harness> = Arc::new(Restricted(url));
    // With these the server is asked for all that the whole suite asks it for.
    let topics = ["closing", "extend", "histories", "inspection", "release", "release_all"];
    let mut passed = 0;
    for case in CASES.iter().filter(|case| case.uses.is_empty()) {
        let topic = case.name.split("::").next().expect("a topic");
        if topics.contains(&topic) {
            let report = run_case(case, Arc::clone(&harness), CAPABILITIES, Scale::Hundredth).await;
            assert!(matches!(report.outcome, Outcome::Passed), "{report:?}");
            passed += 1;
        }
    }
    assert!(passed > topics.len(), "there are cases of them");
    assert_eq!(denied(&server).await, [""; 0]);
}

#[tokio::test]
async fn what_a_user_may_not_ask_is_said_to_be_unchecked_and_not_claimed() {
    let setup = RedisSetup::new().durable().argument("maxmemory-policy", "allkeys-lru");
    let (server, url) = with_the_guides_user(setup).await;
    let connected = async || {
        let capture = Capture::start();
        let provider = provider(&url).await.expect("its rights are enough");
        let claimed = provider.capabilities().has(Capability::SurvivesRestart);
        let warned = capture.events(Level::WARN, "");
        let [warned] = warned.as_slice() else { panic!("one: {warned:?}") };
        let fields = ["policy", "error"].map(|name| warned.field(name).to_owned());
        (fields, claimed)
    };
    let ([policy, error], claimed) = connected().await;
    assert!(policy.is_empty() && error.contains("NOPERM"), "{policy}, {error}");
    assert!(!claimed);
    asked(&server, &["ACL", "SETUSER", "locks", "+config|get"]).await;
    assert_eq!(connected().await, (["allkeys-lru".to_owned(), String::new()], true));
}
