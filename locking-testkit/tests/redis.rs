//! Redis servers for tests, from every source that is there.

use std::time::{Duration, Instant};

use locking_testkit::servers::{Redis, RedisSetup, ServerError, Source};

mod leashed;

#[tokio::test]
async fn a_server_answers_where_it_says() {
    let redis = RedisSetup::new().start().await.expect("a server");
    assert_eq!(redis.command(&["PING"]).await.expect("answered"), "PONG");
    assert_eq!(redis.url(), format!("redis://{}", redis.address()));
    assert_eq!(redis.tls_url(), None);
    assert!(redis.address().ip().is_loopback());
}

#[tokio::test]
async fn what_is_on_disk_is_there_after_a_crash_and_nothing_else() {
    for (setup, kept) in [(RedisSetup::new(), ""), (RedisSetup::new().durable(), "1")] {
        let redis = setup.start().await.expect("a server");
        redis.command(&["SET", "key", "1"]).await.expect("answered");
        let address = redis.address();
        redis.kill().await.expect("killed");
        let error = redis.command(&["PING"]).await.expect_err("it is gone");
        assert!(matches!(error, ServerError::Command { .. }), "{error}");
        redis.start_again().await.expect("started");
        assert_eq!(redis.address(), address);
        assert_eq!(redis.command(&["GET", "key"]).await.expect("answered"), kept);
        redis.stop().await.expect("stopped");
        redis.stop().await.expect("stopped already");
        redis.start_again().await.expect("started");
        assert_eq!(redis.command(&["GET", "key"]).await.expect("answered"), kept);
    }
}

#[tokio::test]
async fn a_paused_server_answers_when_it_is_resumed() {
    let redis = RedisSetup::new().start().await.expect("a server");
    redis.pause().await.expect("paused");
    let waiting = tokio::time::timeout(Duration::from_millis(300), redis.command(&["PING"])).await;
    assert!(waiting.is_err(), "{waiting:?}");
    redis.resume().await.expect("resumed");
    assert_eq!(redis.command(&["PING"]).await.expect("answered"), "PONG");
}

#[tokio::test]
async fn a_server_is_set_up_as_told() {
    let setup = RedisSetup::new()
        .password("p@ss \"word\"")
        .argument("maxmemory-policy", "noeviction")
        .argument("aclfile", "users.acl")
        .file("users.acl", "user default on #0000000000000000000000000000000000000000000000000000000000000000 ~* &* +@all\nuser reader on >secret ~* +get\n");
    let error = setup.start().await.expect_err("the ACL file has another password");
    assert!(!error.to_string().contains("p@ss"), "{error}");

    let setup = RedisSetup::new().password("p@ss \"word\"").argument("maxclients", "77");
    let redis = setup.start().await.expect("a server");
    assert!(redis.url().starts_with("redis://:p%40ss%20%22word%22@127.0.0.1:"), "{}", redis.url());
    assert_eq!(
        redis.command(&["CONFIG", "GET", "maxclients"]).await.expect("answered"),
        "maxclients\n77"
    );
    assert!(!format!("{redis:?}").contains("word"), "{redis:?}");
}

#[tokio::test]
async fn a_mistake_in_the_setup_is_told_in_the_servers_words() {
    let began = Instant::now();
    let error = RedisSetup::new().argument("no-such-thing", "1").start().await.expect_err("wrong");
    assert!(error.to_string().contains("no-such-thing"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20), "at once: {:?}", began.elapsed());
}

#[tokio::test]
async fn connections_commands_and_subscribers_are_seen() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let redis = RedisSetup::new().start().await.expect("a server");
    let before = redis.commands().await.expect("answered");
    assert_eq!(redis.commands().await.expect("answered"), before + 1, "the question is one");
    let three = "redis.call('SET', 'a', 1) redis.call('SET', 'b', 1) redis.call('DEL', 'a', 'b')";
    redis.command(&["EVAL", three, "0"]).await.expect("answered");
    assert_eq!(redis.commands().await.expect("answered"), before + 6, "what scripts call counts");
    for _ in 0..100 {
        let found = redis.connections().await.expect("answered");
        assert_eq!(found, 0, "the questions before are over");
    }
    let mut subscriber = tokio::net::TcpStream::connect(redis.address()).await.expect("connected");
    subscriber.write_all(b"SUBSCRIBE news\r\n").await.expect("written");
    let mut answer = [0; 64];
    assert!(subscriber.read(&mut answer).await.expect("read") > 0);
    assert_eq!(redis.connections().await.expect("answered"), 1);
    redis.forget_scripts().await.expect("answered");
    assert_eq!(redis.cut_subscribers().await.expect("answered"), 1);
    assert_eq!(subscriber.read(&mut answer).await.expect("an end"), 0);
}

#[test]
fn a_server_ends_with_its_handle_outside_a_runtime() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let redis = runtime.block_on(RedisSetup::new().start()).expect("a server");
    drop(runtime);
    let address = redis.address();
    std::net::TcpStream::connect(address).expect("it runs");
    drop(redis);
    std::net::TcpStream::connect(address).expect_err("it ended");
}

#[tokio::test]
async fn another_process_finds_it_by_its_environment() {
    let redis = RedisSetup::new().password("secret").start().await.expect("a server");
    let environment = redis.child_environment();
    assert!(environment.contains(&("LOCKING_TEST_REDIS_URL".to_owned(), redis.url())));
    assert!(environment.contains(&("LOCKING_TEST_SERVERS".to_owned(), "env".to_owned())));
    let elsewhere = redis.url_at(([127, 0, 0, 1], 1).into());
    assert_eq!(elsewhere, "redis://:secret@127.0.0.1:1");
}

#[test]
fn what_takes_time_can_be_done_on_any_thread() {
    fn on_any_thread<F: Future + Send>(_: impl FnOnce() -> F) {}

    on_any_thread(Redis::start);
    on_any_thread(|| RedisSetup::new().start());
}

#[tokio::test]
async fn a_server_for_everybody_is_had_too() {
    let redis = Redis::start().await.expect("a server");
    if redis.source() == Source::Environment {
        let error = redis.kill().await.expect_err("not ours");
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
    let redis = RedisSetup::new().start().await.expect("a server");
    redis.stop().await.expect("stopped");
    leashed::wait_at(redis.address()).await;
}

#[tokio::test]
#[ignore = "the part of `a_server_ends_when_its_test_is_killed` that is killed"]
async fn holds_a_server_until_it_is_killed() {
    let redis = RedisSetup::new().start().await.expect("a server");
    redis.pause().await.expect("paused");
    leashed::wait_at(redis.address()).await;
}
