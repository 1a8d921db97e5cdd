//! Servers that aren't as they should be, and what else is on them.

use std::time::Duration;

use locking_core::{
    AcquireRequest, Error, Expiry, KeySet, LockKey, LockingProvider, LossSignal, OwnerId,
    ProviderId, Result, WaitUntil,
};
use locking_redis::{RedisOptions, RedisProvider};
use locking_testkit::servers::{Redis, RedisSetup};

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
async fn a_foreign_lock_whose_value_is_no_text_is_listed_as_somebodys() {
    let server = Redis::start().await.expect("a server");
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
    let server = Redis::start().await.expect("a server");
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
