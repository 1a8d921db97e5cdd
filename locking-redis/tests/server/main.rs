//! What is particular to Redis: what lies on the server, who else uses it, and what it refuses.

#[path = "../../../locking-core/tests/support/capture.rs"]
#[allow(dead_code, reason = "spans are the core's")]
mod capture;
mod events;
mod start;
mod users;

use std::future::IntoFuture;
use std::time::{Duration, Instant};

use locking_core::{
    Capability, Error, LockingConfig, LockingModule, LockingProvider, LossReason, ProviderConfig,
    ProviderId,
};
use locking_redis::{IDENTIFIER, RedisOptions, RedisProvider};
use locking_testkit::faults::{Cut, Direction, Fault, Proxy};
use locking_testkit::servers::{Redis, RedisSetup};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(1);

async fn server() -> Redis {
    RedisSetup::new().start().await.expect("a server of the test's own")
}

async fn provider(url: &str) -> locking_core::Result<RedisProvider> {
    let id = ProviderId::new(IDENTIFIER).expect("an id");
    RedisProvider::connect(id, RedisOptions::new(url).expect("a URL")).await
}

async fn module(server: &Redis) -> LockingModule {
    configured(&server.url(), &[]).await.expect("the server can be reached")
}

async fn configured(url: &str, options: &[(&str, Value)]) -> locking_core::Result<LockingModule> {
    let entry = ProviderConfig::new(IDENTIFIER).with_option("redis_url", url);
    let entry =
        options.iter().fold(entry, |entry, (name, value)| entry.with_option(*name, value.clone()));
    LockingModule::new(LockingConfig::new().with_provider(entry)).await
}

async fn asked(server: &Redis, words: &[&str]) -> String {
    server.command(words).await.expect("the server answers").trim().to_owned()
}

async fn until_nobody_is_connected(server: &Redis) {
    let begun = Instant::now();
    while server.connections().await.expect("answered") > 0 {
        assert!(begun.elapsed() < SOON * 3, "connections are left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_asked_under_its_name_anew() {
    let server = server().await;
    let module = module(&server).await;
    let connected = async || {
        let stats = asked(&server, &["INFO", "stats"]).await;
        let count = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        count.expect("counted").trim().parse::<u32>().expect("a number")
    };
    module.acquire("k").owner("o").await.expect("free");
    asked(&server, &["REPLICAOF", "127.0.0.1", "1"]).await;
    let (before, begun) = (connected().await, Instant::now());
    let mut looks = 0;
    // Each look is a connection, too.
    while connected().await < before + looks + 3 {
        looks += 1;
        let refused = module.acquire("l").await;
        assert!(
            matches!(refused, Err(Error::Unavailable { .. } | Error::UnknownOutcome { .. })),
            "{refused:?}"
        );
        assert!(begun.elapsed() < SOON * 10, "it stays where it is");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    asked(&server, &["REPLICAOF", "NO", "ONE"]).await;
    module.acquire("l").wait(SOON * 10).await.expect("it can be written to again");
}

#[tokio::test]
async fn each_call_is_one_call_of_the_script_however_many_keys_it_has() {
    let server = server().await;
    let module = module(&server).await;
    let calls = async || {
        let stats = asked(&server, &["INFO", "commandstats"]).await;
        let count = |line: &str| -> Option<u64> {
            let calls = line.split_once(":calls=")?.1;
            calls.split(',').next()?.parse().ok()
        };
        let scripts = stats.lines().filter(|line| line.starts_with("cmdstat_eval"));
        scripts.filter_map(count).sum::<u64>()
    };
    let long = Duration::from_secs(60);
    for count in [1, 10] {
        let keys: Vec<_> = (0..count).map(|n| format!("{count}-{n}")).collect();
        let mut before = calls().await;
        let mut one_more = async |what: &str| {
            let now = calls().await;
            assert_eq!(now, before + 1, "{what} of {count}");
            before = now;
        };
        let lease = module.acquire(&keys).owner("o").expire(long).await.expect("free");
        one_more("acquire").await;
        module.acquire(&keys).owner("x").await.expect_err("held");
        one_more("a refused acquire").await;
        module.extend(&lease, long).await.expect("held");
        one_more("extend").await;
        assert!(module.release_lease(&lease).await.expect("answered"));
        one_more("release as a lease").await;
        module.acquire(&keys).owner("o").await.expect("free");
        one_more("acquire").await;
        assert!(module.release(&keys).owner("o").await.expect("answered"));
        one_more("release").await;
    }
}

#[tokio::test]
async fn a_guard_that_is_freed_by_force_learns_it_at_once() {
    let server = server().await;
    let (holder, other) = (module(&server).await, module(&server).await);
    let mut took = Vec::new();
    for _ in 0..5 {
        // Its next renewal is 10 s away.
        let guard = holder.lock("k").await.expect("free");
        let asked = Instant::now();
        assert_eq!(other.release_all().including_running().await.expect("answered"), 1);
        let reason = tokio::time::timeout(SOON, guard.lost()).await.expect("it hears of it");
        took.push(asked.elapsed());
        assert_eq!(reason, LossReason::Revoked);
    }
    // From before the server was asked; the machine may stand still now and then.
    took.sort_unstable();
    assert!(took[2] < Duration::from_millis(50), "{took:?}");
}

#[tokio::test]
async fn where_a_name_moves_the_client_listens_to_the_server_that_it_asks() {
    let (one, other) = (server().await, server().await);
    let proxy = Proxy::to(one.address()).await.expect("a port");
    let url = format!("redis://{}", proxy.address());
    let module = configured(&url, &[]).await.expect("the server can be reached");
    proxy.lead_to(other.address());
    // That of commands alone: the first one. The other goes on, to a server that lives.
    proxy.connections()[0].cut(Cut::Reset);
    let begun = Instant::now();
    let moved =
        async || module.acquire("k").await.is_ok() && asked(&other, &["DBSIZE"]).await != "0";
    while !moved().await {
        assert!(begun.elapsed() < SOON * 5, "commands stay where they are");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while asked(&other, &["CLIENT", "LIST", "TYPE", "pubsub"]).await.is_empty() {
        assert!(begun.elapsed() < SOON * 10, "it listens to the other server");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_lock_is_freed_by_force_although_the_counter_is_lost() {
    let server = server().await;
    let module = module(&server).await;
    module.acquire("k").await.expect("free");
    asked(
        &server,
        &["EVAL", "return redis.call('DEL', 'medusa_lock:' .. string.char(0) .. 't')", "0"],
    )
    .await;
    assert_eq!(module.release_all().await.expect("answered"), 1);
}

#[tokio::test]
async fn what_could_not_be_taken_back_before_a_close_is_when_the_server_is_back() {
    let server = server().await;
    let proxy = Proxy::to(server.address()).await.expect("a port");
    let hasty = ("redis_options", serde_json::json!({ "command_timeout": "200ms" }));
    let module = configured(&format!("redis://{}", proxy.address()), &[hasty]).await;
    let module = module.expect("the server can be reached");
    let other = configured(&server.url(), &[]).await.expect("the server can be reached");
    proxy.inject(Fault::Swallow { direction: Direction::ToClient });
    let asked = module.acquire("k").into_future();
    let answer = tokio::time::timeout(Duration::from_millis(100), asked).await;
    assert!(answer.is_err(), "the reply is lost");
    proxy.refuse();
    proxy.cut(Cut::Reset);
    assert!(module.close(Duration::ZERO).await.is_err(), "the server can't be reached");
    // Longer than the connections have for their good order.
    tokio::time::sleep(SOON * 3).await;
    proxy.restore();
    other.acquire("k").wait(SOON * 5).await.expect("nobody holds it");
    drop(other);
    until_nobody_is_connected(&server).await;
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_no_connection() {
    let server = server().await;
    let url = server.url();
    let whole = Instant::now();
    drop(provider(&url).await.expect("the server can be reached"));
    let step = whole.elapsed() / 20;
    for steps in 0..20 {
        let _ = tokio::time::timeout(step * steps, provider(&url)).await;
    }
    until_nobody_is_connected(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_given_up_as_it_begins_leaves_no_connection() {
    let server = server().await;
    let mut given_up = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let url = server.url();
        given_up.spawn(async move {
            let start = tokio::time::timeout(Duration::ZERO, provider(&url)).await;
            start.map(drop).expect_err("there was no time for it");
        });
    }
    given_up.join_all().await;
    // A connection that is left is made in the meantime.
    tokio::time::sleep(SOON / 2).await;
    until_nobody_is_connected(&server).await;
}

#[tokio::test]
async fn a_client_that_is_closed_while_the_server_hangs_leaves_no_connection() {
    let server = server().await;
    let module = module(&server).await;
    server.pause().await.expect("paused");
    let under_way = tokio::spawn({
        let module = module.clone();
        async move { module.acquire("k").await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let _ = module.close(Duration::from_millis(100)).await;
    drop(module);
    under_way.await.expect("no panic").expect_err("it is closed");
    // By then the provider has given up to end them in good order.
    tokio::time::sleep(SOON * 3).await;
    server.resume().await.expect("resumed");
    tokio::time::sleep(SOON / 2).await;
    until_nobody_is_connected(&server).await;
}

#[tokio::test]
async fn a_lock_of_the_original_module_blocks_until_it_is_deleted() {
    let server = server().await;
    let module = module(&server).await;
    asked(&server, &["SET", "medusa_lock:prod_123", "user_1", "NX", "EX", "60"]).await;

    let refused = module.acquire("prod_123").owner("user_1").await;
    assert!(matches!(refused, Err(Error::Held { .. })), "{refused:?}");
    let shown = module.inspect("prod_123").await.expect("answered").expect("held");
    assert_eq!(shown.owner.expect("its owner").as_str(), "user_1");

    let mut took = Vec::new();
    for _ in 0..3 {
        asked(&server, &["SET", "medusa_lock:prod_123", "user_1", "EX", "60"]).await;
        let waiting = {
            let module = module.clone();
            tokio::spawn(async move { module.acquire("prod_123").wait(SOON * 30).await })
        };
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!waiting.is_finished());
        let deleted = Instant::now();
        asked(&server, &["DEL", "medusa_lock:prod_123"]).await;
        waiting.await.expect("no panic").expect("granted");
        took.push(deleted.elapsed());
    }
    // The shortest, because the machine may stand still.
    let least = took.iter().min().expect("there are some");
    assert!(*least < Duration::from_millis(400), "within `maximum_retry_interval`: {took:?}");
}

#[tokio::test]
async fn a_waiter_whose_process_is_gone_keeps_nobody_from_looking_at_such_a_lock() {
    let server = server().await;
    let (url, module) = (server.url(), module(&server).await);
    let mut took = Vec::new();
    for _ in 0..3 {
        asked(&server, &["SET", "medusa_lock:k", "user_1", "EX", "60"]).await;
        let gone = tokio::runtime::Runtime::new().expect("a runtime");
        let first = {
            let url = url.clone();
            async move {
                let module = configured(&url, &[]).await.expect("the server can be reached");
                let _ = module.acquire("k").wait(SOON * 30).await;
            }
        };
        gone.spawn(first);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let waiting = {
            let module = module.clone();
            tokio::spawn(async move { module.acquire("k").wait(SOON * 30).await })
        };
        tokio::time::sleep(Duration::from_millis(100)).await;
        gone.shutdown_background();
        // It looks twice a second in any case: it has just looked.
        tokio::time::sleep(Duration::from_millis(450)).await;
        assert!(!waiting.is_finished());
        let deleted = Instant::now();
        asked(&server, &["DEL", "medusa_lock:k"]).await;
        waiting.await.expect("no panic").expect("granted");
        took.push(deleted.elapsed());
        module.release("k").await.expect("answered");
    }
    let least = took.iter().min().expect("there are some");
    assert!(*least < Duration::from_millis(300), "within `maximum_retry_interval`: {took:?}");
}

#[tokio::test]
async fn an_expired_lock_of_the_original_module_is_free() {
    let server = server().await;
    let module = module(&server).await;
    asked(&server, &["SET", "medusa_lock:k", "*", "NX", "PX", "150"]).await;
    module.acquire("k").wait(SOON * 5).await.expect("granted when it has expired");
}

#[tokio::test]
async fn the_original_module_neither_takes_nor_frees_a_lock_that_is_held() {
    let server = server().await;
    let module = module(&server).await;
    module.acquire("k").owner("user_1").await.expect("free");
    // What it runs to acquire, and to release: a compare with the owner, and a delete.
    let taken = asked(&server, &["SET", "medusa_lock:k", "user_1", "NX", "EX", "60"]).await;
    assert_eq!(taken, "", "not set");
    let release = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";
    assert_eq!(asked(&server, &["EVAL", release, "1", "medusa_lock:k", "user_1"]).await, "0");
    assert!(module.release("k").owner("user_1").await.expect("answered"));
}

#[tokio::test]
async fn nobody_elses_lock_is_freed_whatever_is_asked_for() {
    let server = server().await;
    let module = module(&server).await;
    asked(&server, &["SET", "medusa_lock:theirs", "user_1"]).await;
    asked(&server, &["HSET", "medusa_lock:hash", "field", "1"]).await;
    for key in ["theirs", "hash"] {
        assert!(!module.release(key).await.expect("answered"));
        assert!(!module.release(key).owner("user_1").await.expect("answered"));
    }
    module.release_all().including_running().await.expect("answered");
    assert_eq!(asked(&server, &["EXISTS", "medusa_lock:theirs", "medusa_lock:hash"]).await, "2");
}

#[tokio::test]
async fn a_key_of_another_type_blocks_and_stays_as_it_is() {
    let server = server().await;
    let module = module(&server).await;
    asked(&server, &["HSET", "medusa_lock:hash", "field", "1"]).await;
    let refused = module.acquire(["free", "hash"]).await;
    let error = refused.expect_err("somebody's");
    assert!(matches!(&error, Error::Held { key, .. } if key.as_str() == "hash"), "{error:?}");
    assert_eq!(asked(&server, &["HGET", "medusa_lock:hash", "field"]).await, "1");
    assert_eq!(asked(&server, &["EXISTS", "medusa_lock:free"]).await, "0", "all or nothing");

    let waited = module.acquire("hash").wait(Duration::from_millis(200)).await;
    assert!(matches!(waited, Err(Error::TimedOut { .. })), "{waited:?}");
}

#[tokio::test]
async fn namespaces_of_glob_characters_see_their_own_locks_only() {
    let server = server().await;
    let mut modules = Vec::new();
    for namespace in ["shop*:", "shop?:", "[a-z]hop:", r"sh\op:", "shop1:"] {
        let module = configured(&server.url(), &[("namespace", namespace.into())]).await;
        let module = module.expect("the server can be reached");
        module.acquire("k").owner(namespace).await.expect("free in its own namespace");
        modules.push((namespace, module));
    }
    for (namespace, module) in &modules {
        let list = module.list().await.expect("answered");
        let owners: Vec<_> = list.iter().filter_map(|info| info.owner.as_ref()).collect();
        assert_eq!(owners.len(), 1, "{namespace}: {owners:?}");
        assert_eq!(owners[0].as_str(), *namespace);
        assert_eq!(module.release_all().await.expect("answered"), 1);
    }
}

#[tokio::test]
async fn after_the_last_release_the_counter_alone_is_left() {
    let server = server().await;
    let module = module(&server).await;
    for n in 0..50 {
        let key = format!("k{n}");
        module.acquire(&key).owner(format!("o{n}")).await.expect("free");
        assert!(module.release(&key).owner(format!("o{n}")).await.expect("answered"));
        module.execute([key.as_str(), "shared"], |_| async {}).await.expect("free");
    }
    assert_eq!(asked(&server, &["DBSIZE"]).await, "1");
    assert_eq!(asked(&server, &["EXISTS", "medusa_lock:\0t"]).await, "1");
}

#[tokio::test]
async fn tokens_grow_over_the_loss_of_everything() {
    let server = server().await;
    let module = module(&server).await;
    let before = module.acquire("k").await.expect("free").token();
    asked(&server, &["FLUSHALL"]).await;
    let after = module.acquire("k").await.expect("free").token();
    assert!(after > before, "{after} after {before}");
}

#[tokio::test]
async fn survival_of_restarts_is_claimed_where_every_command_is_on_disk() {
    let durable = RedisSetup::new().durable().start().await.expect("a durable server");
    let claims = |provider: &RedisProvider| provider.capabilities();
    let kept = provider(&durable.url()).await.expect("reached");
    assert!(claims(&kept).has(Capability::SurvivesRestart));
    let volatile = server().await;
    let lost = provider(&volatile.url()).await.expect("reached");
    assert!(!claims(&lost).has(Capability::SurvivesRestart));
}

#[tokio::test]
async fn a_durable_server_keeps_a_lock_over_a_crash() {
    let server = RedisSetup::new().durable().start().await.expect("a durable server");
    let module = module(&server).await;
    let lease = module.acquire("k").owner("o").await.expect("free");
    server.kill().await.expect("killed");
    server.start_again().await.expect("started");
    let again = module.acquire("k").owner("o").await.expect("its own");
    assert_eq!(again.token(), lease.token());
    assert!(!again.keys()[0].taken);
    assert!(matches!(module.acquire("k").await, Err(Error::Held { .. })));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_start() {
    let begun = Instant::now();
    let refused = configured("redis://127.0.0.1:1", &[]).await.expect_err("nobody listens");
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
    assert!(begun.elapsed() < SOON * 5);
}

#[tokio::test]
async fn a_full_server_says_so_and_holds_nothing() {
    let server = server().await;
    let module = module(&server).await;
    asked(&server, &["CONFIG", "SET", "maxmemory", "1mb"]).await;
    let refused = module.acquire("k").expire(SOON * 60).await;
    assert!(matches!(refused, Err(Error::CapacityExceeded { .. })), "{refused:?}");
    let waited = module.acquire("k").wait(SOON * 5).await;
    assert!(matches!(waited, Err(Error::CapacityExceeded { .. })), "{waited:?}");
    asked(&server, &["CONFIG", "SET", "maxmemory", "0"]).await;
    module.acquire("k").await.expect("free, and room again");
}

#[tokio::test]
async fn thousands_of_keys_go_in_one_call() {
    let server = server().await;
    let module = module(&server).await;
    let keys: Vec<_> = (0..9000).map(|n| format!("k{n}")).collect();
    let lease = module.acquire(&keys).owner("o").expire(SOON * 60).await.expect("free");
    assert_eq!(lease.keys().len(), 9000);
    assert!(module.acquire(&keys).owner("o").await.expect("its own").taken().next().is_none());
    assert!(module.release_lease(&lease).await.is_ok());
    assert_eq!(module.list().await.expect("answered").len(), 0);
}

#[tokio::test]
async fn two_connections_do_for_any_number_of_waiters() {
    let server = server().await;
    let before = server.connections().await.expect("counted");
    let module = module(&server).await;
    let held = module.lock("k0").await.expect("free");
    let waiting: Vec<_> = (0..200)
        .map(|n| {
            let module = module.clone();
            tokio::spawn(async move { module.lock(format!("k{}", n % 3)).await.map(drop) })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.connections().await.expect("counted") - before, 2);
    drop(held);
    for waiter in waiting {
        waiter.await.expect("no panic").expect("granted");
    }
}
