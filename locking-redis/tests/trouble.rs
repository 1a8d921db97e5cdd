//! Servers that aren't as they should be, and what else is on them.

use std::sync::Arc;
use std::time::Duration;

use locking_core::{
    AcquireRequest, Error, Expiry, KeySet, LockKey, LockingProvider, LossSignal, OwnerId,
    ProviderId, Result, WaitUntil,
};
use locking_redis::{RedisOptions, RedisProvider};
use locking_testkit::faults::{Cut, Direction, Fault, Proxy};
use locking_testkit::servers::RedisSetup;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

async fn connect(url: &str) -> Result<RedisProvider> {
    let options = RedisOptions::new(url).expect("a URL").with_namespace("s:").expect("a namespace");
    RedisProvider::connect(ProviderId::new("redis").expect("an id"), options).await
}

#[tokio::test]
async fn a_user_who_may_not_hear_of_grants_is_refused_at_once() {
    let users =
        "user default on nopass ~* &* +@all\nuser locks on >secret ~* resetchannels +@all\n";
    let setup = RedisSetup::new().argument("aclfile", "users.acl").file("users.acl", users);
    let server = setup.start().await.expect("a server");
    let url = format!("redis://locks:secret@{}", server.address());
    let error = connect(&url).await.expect_err("it could neither wait nor hand on");
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn a_command_without_a_limit_is_a_mistake_in_the_configuration() {
    let mut options = RedisOptions::new("redis://127.0.0.1:1").expect("a URL");
    options.redis_options.command_timeout = Duration::ZERO;
    let id = ProviderId::new("redis").expect("an id");
    let error = RedisProvider::connect(id, options).await.expect_err("it could wait for ever");
    assert!(error.to_string().contains("command_timeout"), "{error}");
}

#[tokio::test]
async fn a_foreign_lock_whose_value_is_no_text_is_listed_as_somebodys() {
    let server = RedisSetup::new().start().await.expect("a server");
    let provider = connect(&server.url()).await.expect("connected");
    let script = "return redis.call('SET', KEYS[1], '\\255\\254')";
    server.command(&["EVAL", script, "1", "s:k"]).await.expect("set");
    let listed = provider.list().await.expect("listed");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].key.as_str(), "k");
    provider.close().await.expect("closed");
}

#[tokio::test]
async fn a_guard_that_the_server_says_is_lost_is_not_passed_on() {
    let server = RedisSetup::new().start().await.expect("a server");
    let provider = connect(&server.url()).await.expect("connected");
    let expiry = Expiry::new(Duration::from_secs(30)).expect("an expiry");
    let request = || {
        let keys = KeySet::new([LockKey::new("k").expect("a key")]).expect("keys");
        let request = AcquireRequest::new(keys).with_owner(OwnerId::fresh()).with_expiry(expiry);
        request.with_guard(LossSignal::new())
    };
    let first = provider.acquire(request()).await.expect("free").lease;
    let waiting = provider.acquire(request().with_wait(WaitUntil::Forever));
    let lost = async {
        server.command(&["DEL", "s:k"]).await.expect("deleted");
        let error = provider.extend(&first, expiry).await.expect_err("it is gone");
        assert!(matches!(error, Error::Lost { .. }), "{error:?}");
        assert!(provider.release_now(&first).is_none(), "it is nobody's to pass on");
    };
    let (granted, ()) = tokio::join!(waiting, lost);
    assert!(granted.expect("granted").lease.token() > first.token());
    provider.close().await.expect("closed");
}

#[tokio::test]
async fn what_is_under_way_while_the_connection_is_made_anew_is_not_told_as_not_done() {
    let server = RedisSetup::new().start().await.expect("a server");
    let proxy = Proxy::to(server.address()).await.expect("a port");
    let mut options = RedisOptions::new(server.url_at(proxy.address())).expect("a URL");
    options = options.with_namespace("s:").expect("a namespace");
    options.redis_options.command_timeout = Duration::from_secs(1);
    let id = ProviderId::new("redis").expect("an id");
    let provider = Arc::new(RedisProvider::connect(id, options).await.expect("connected"));
    let acquire = |key: &'static str| {
        let keys = KeySet::new([LockKey::new(key).expect("a key")]).expect("keys");
        let provider = Arc::clone(&provider);
        tokio::spawn(async move { provider.acquire(AcquireRequest::new(keys)).await })
    };
    proxy.inject(Fault::Hold { direction: Direction::ToClient });
    let first = acquire("one");
    sleep(Duration::from_millis(700)).await;
    // The first gives up soon, and has the connection made anew under this one.
    let second = acquire("two");
    sleep(Duration::from_millis(500)).await;
    proxy.restore();
    for (key, answer) in [("one", first), ("two", second)] {
        let answer = answer.await.expect("no panic");
        let held = async || server.command(&["GET", &format!("s:{key}")]).await.expect("told");
        match answer {
            Ok(granted) => provider.release_lease(&granted.lease).await.expect("held"),
            Err(Error::UnknownOutcome { .. }) => {}
            Err(other) => assert_eq!(held().await.trim(), "", "{key} is held after {other:?}"),
        }
    }
    provider.close().await.expect("closed");
}

#[tokio::test]
async fn what_was_given_up_while_the_connection_was_lost_is_never_sent() {
    let server = RedisSetup::new().start().await.expect("a server");
    let proxy = Proxy::to(server.address()).await.expect("a port");
    let mut options = RedisOptions::new(server.url_at(proxy.address())).expect("a URL");
    options = options.with_namespace("s:").expect("a namespace");
    options.redis_options.command_timeout = Duration::from_millis(300);
    let id = ProviderId::new("redis").expect("an id");
    let provider = Arc::new(RedisProvider::connect(id, options).await.expect("connected"));
    let expiry = Expiry::new(Duration::from_millis(500)).expect("an expiry");
    let request = |key: String| {
        let keys = KeySet::new([LockKey::new(key).expect("a key")]).expect("keys");
        let wait = WaitUntil::Deadline(Instant::now() + Duration::from_millis(50));
        AcquireRequest::new(keys).with_expiry(expiry).with_wait(wait)
    };
    proxy.refuse();
    proxy.cut(Cut::Reset);
    // Some of them while the driver hasn't noticed yet.
    let mut given_up = JoinSet::new();
    for n in 0..40 {
        let (provider, request) = (Arc::clone(&provider), request(format!("k{n}")));
        given_up.spawn(async move {
            sleep(Duration::from_millis(n / 2)).await;
            provider.acquire(request).await.expect_err("there is no server");
        });
    }
    given_up.join_all().await;
    // Longer than anything is tried to be taken back.
    sleep(Duration::from_secs(3)).await;
    proxy.restore();
    let usable = async {
        while provider.acquire(request("again".to_owned())).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let watched = async {
        let mut taken = Vec::new();
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            let keys = server.command(&["KEYS", "s:k*"]).await.expect("answered");
            taken.extend(keys.split_whitespace().map(str::to_owned));
        }
        taken
    };
    let (taken, ()) = tokio::join!(watched, usable);
    assert!(taken.is_empty(), "{taken:?}");
    provider.close().await.expect("closed");
}

#[tokio::test]
async fn a_client_that_is_told_nothing_any_more_notices_it_and_waits_again_as_others() {
    let server = RedisSetup::new().start().await.expect("a server");
    let proxy = Proxy::to(server.address()).await.expect("a proxy");
    let deaf = connect(&server.url_at(proxy.address())).await.expect("connected");
    // The second connection is the one on which the server tells.
    proxy.connections()[1].cut(Cut::HalfOpen { told: Direction::ToServer });
    let expiry = Expiry::new(Duration::from_secs(30)).expect("an expiry");
    let request = move || {
        let keys = KeySet::new([LockKey::new("k").expect("a key")]).expect("keys");
        let request = AcquireRequest::new(keys).with_owner(OwnerId::fresh()).with_expiry(expiry);
        let wait = WaitUntil::Deadline(Instant::now() + Duration::from_secs(12));
        request.with_guard(LossSignal::new()).with_wait(wait)
    };
    // Others hand the key on to each other: it is never free.
    let mut others = Vec::new();
    for _ in 0..3 {
        let other = connect(&server.url()).await.expect("connected");
        others.push(tokio::spawn(async move {
            loop {
                let lease = other.acquire(request()).await.expect("granted").lease;
                sleep(Duration::from_millis(20)).await;
                other.release_lease(&lease).await.expect("held");
            }
        }));
    }
    sleep(Duration::from_millis(200)).await;
    deaf.acquire(request()).await.expect("its turn comes");
    others.iter().for_each(tokio::task::JoinHandle::abort);
}
