//! Keys whose guards in the database are one and the same, and an application's own advisory locks.

use locking_core::{Error, LockingModule};
use locking_testkit::history::{Workload, check};
use locking_testkit::servers::Postgres;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    LONG, client, deadlocks, foreign, is_free, module, ms, number, scaled, until_nothing_is_left,
};

/// Every key has the same hash.
async fn collide(server: &Postgres) {
    module(server).await.close(LONG).await.expect("closed");
    let constant = "CREATE OR REPLACE FUNCTION locking.locking_hash(p_key text) RETURNS bigint
                    LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 42";
    server.command(constant).await.expect("replaced");
}

#[tokio::test]
async fn keys_with_one_hash_are_kept_apart_and_handed_on() {
    let server = crate::server().await;
    collide(&server).await;
    let (a, b) = (module(&server).await, module(&server).await);
    let one = a.lock("one").timeout(LONG).await.expect("free");
    let two = b.acquire("two").owner("o").await.expect("another key");
    let several = a.acquire(["three", "four", "five"]).await.expect("other keys");
    assert!(matches!(b.acquire(["five", "six"]).await, Err(Error::Held { .. })));
    assert!(is_free(&b, "six").await, "all or nothing");
    let waiting = tokio::spawn({
        let b = b.clone();
        async move { b.lock(["one", "three"]).timeout(LONG).await }
    });
    sleep(ms(100)).await;
    assert!(!waiting.is_finished(), "both are held");
    let token = one.token();
    one.release().await.expect("held");
    assert!(a.release_lease(&several).await.expect("answered"));
    let next =
        timeout(LONG, waiting).await.expect("handed on").expect("no panic").expect("granted");
    assert!(token < next.token_of("one").expect("it holds it"));
    next.release().await.expect("held");
    assert!(b.release_lease(&two).await.expect("answered"));
    assert_eq!(deadlocks(&server).await, 0);
    until_nothing_is_left(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_work_on_keys_with_one_hash_breaks_no_promise() {
    let server = crate::server().await;
    collide(&server).await;
    let clients = [client(&server).await, client(&server).await];
    let workload = Workload::new().with_keys(5).with_operations(scaled(100_000, 800));
    let history = workload.run(&clients, |n| format!("k{n}")).await;
    let violations = check(&history);
    assert!(violations.is_empty(), "seed {}: {violations:#?}", workload.seed());
    assert!(history.holds() > 100, "something was done");
    assert_eq!(deadlocks(&server).await, 0);
    until_nothing_is_left(&server).await;
}

async fn hash(server: &Postgres, key: &str) -> i64 {
    number(server, &format!("SELECT locking.locking_hash('{key}')")).await
}

/// Asks for many keys at the same moment as for `k`: all are granted.
async fn ask_for_others(module: &LockingModule, round: usize) {
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..20 {
        let module = module.clone();
        asking.spawn(async move { module.acquire(format!("other{round}/{n}")).await });
    }
    while let Some(asked) = asking.join_next().await {
        asked.expect("no panic").expect("nobody else wants it");
    }
}

#[tokio::test]
async fn an_applications_own_lock_of_a_keys_hash_is_waited_for_and_no_longer_than_a_command() {
    let server = crate::server().await;
    let (module, application) = (module(&server).await, foreign(&server).await);
    let hash = hash(&server, "k").await;
    let guard = module.lock("k").timeout(LONG).await.expect("free");
    guard.release().await.expect("held");
    application.execute("SELECT pg_advisory_lock($1)", &[&hash]).await.expect("locked");
    for round in 0..2 {
        let began = Instant::now();
        let (asked, ()) = tokio::join!(module.acquire("k"), ask_for_others(&module, round));
        let error = asked.expect_err("the application has it");
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert!(began.elapsed() < ms(4000), "{:?}", began.elapsed());
    }
    // Freed meanwhile, it is granted.
    let (asked, ()) = tokio::join!(module.acquire("k"), async {
        sleep(ms(400)).await;
        application.execute("SELECT pg_advisory_unlock($1)", &[&hash]).await.expect("unlocked");
    });
    let lease = asked.expect("granted in the end");
    assert!(matches!(module.acquire("k").await, Err(Error::Held { .. })), "one holder");
    assert!(module.release_lease(&lease).await.expect("answered"));
    module.release_all().await.expect("answered");
    until_nothing_is_left(&server).await;
}
