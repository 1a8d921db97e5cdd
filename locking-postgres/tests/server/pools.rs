//! Few connections for many, and those of an application.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use locking_core::LockingModule;
use locking_postgres::PostgresProvider;
use locking_testkit::faults::{Direction, Fault, Proxy};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, timeout};
use tokio_postgres::{Config, NoTls};

use crate::{LONG, SOON, connect, id, ms, options, scaled, until_nothing_is_left};

/// So many tasks, each of which wants one of a few keys, as a lease or as a guard.
async fn contend(module: &LockingModule, count: usize, keys: usize) {
    let mut waiting = JoinSet::new();
    for n in 0..count {
        let module = module.clone();
        waiting.spawn(async move {
            let key = format!("k{}", n % keys);
            if n % 3 == 0 {
                let lease = module.acquire(key).wait(LONG).await.expect("its turn comes");
                assert!(module.release_lease(&lease).await.expect("answered"), "held");
            } else {
                let guard = module.lock(key).timeout(LONG).await.expect("its turn comes");
                guard.release().await.expect("held");
            }
        });
    }
    while let Some(ended) = waiting.join_next().await {
        ended.expect("no panic");
    }
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_no_connection() {
    let server = crate::server().await;
    let start = || connect(options(&server.url()));
    drop(start().await.expect("the server can be reached, and the tables are made"));
    let whole = Instant::now();
    drop(start().await.expect("the server can be reached"));
    let step = whole.elapsed() / 20;
    for steps in 0..20 {
        let _ = timeout(step * steps, start()).await;
    }
    let give_up = Instant::now() + SOON * 3;
    while server.connections().await.expect("answered") > 0 {
        assert!(Instant::now() < give_up, "connections are left");
        sleep(ms(20)).await;
    }
}

#[tokio::test]
async fn a_start_may_take_longer_than_a_command_where_the_server_is_far_away() {
    let server = crate::server().await;
    drop(connect(options(&server.url())).await.expect("the tables are made"));
    let proxy = Proxy::to(server.address()).await.expect("a port");
    proxy.inject(Fault::Delay { direction: Direction::ToClient, by: ms(60) });
    let mut far_away = options(&server.url_at(proxy.address()));
    far_away.command_timeout = ms(1000);
    let module = LockingModule::with_provider(connect(far_away).await.expect("each is in time"));
    module.lock("k").await.expect("free").release().await.expect("held");
}

#[tokio::test]
async fn a_later_start_that_is_given_up_leaves_no_second_session() {
    let server = crate::server().await;
    let mut without_tables = options(&server.url());
    without_tables.migrate_at_start = false;
    let client = connect(without_tables).await.expect("the tables may come later");
    client.migrate().await.expect("made");
    let module = LockingModule::with_provider(client);
    for milliseconds in 0..60 {
        let _ = timeout(ms(milliseconds), module.acquire("k").owner("o")).await;
    }
    module.acquire("k").owner("o").await.expect("free, or its own");
    let sessions =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%locking session'";
    let give_up = Instant::now() + SOON * 3;
    while crate::number(&server, sessions).await > 1 {
        assert!(Instant::now() < give_up, "sessions are left");
        sleep(ms(20)).await;
    }
    // There is one, and it stays: what hangs on it does.
    let guard = module.lock("l").await.expect("free");
    sleep(SOON * 3).await;
    guard.check().expect("held");
    guard.release().await.expect("held to the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pool_of_one_connection_serves_a_thousand_waiters() {
    let server = crate::server().await;
    let mut options = options(&server.url());
    options.pool.max_size = 1;
    let module = LockingModule::with_provider(connect(options).await.expect("connected"));
    let held = module.acquire("k0").await.expect("free");
    let (releasing, ()) = tokio::join!(
        async {
            sleep(ms(300)).await;
            module.release_lease(&held).await
        },
        contend(&module, 1_000, 10)
    );
    assert!(releasing.expect("answered"));
    // The pool's one, and the session.
    assert!(server.connections().await.expect("counted") <= 2);
    until_nothing_is_left(&server).await;
}

pub(crate) fn applications_pool(url: &str, size: usize) -> Pool {
    let config: Config = url.parse().expect("an address");
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(config, NoTls, recycling);
    Pool::builder(manager).max_size(size).build().expect("a pool")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_waits_that_end_at_once_take_half_of_an_applications_pool() {
    let server = crate::server().await;
    let pool = applications_pool(&server.url(), 4);
    let provider = PostgresProvider::with_pool(id(), pool.clone(), options(&server.url())).await;
    let module = LockingModule::with_provider(Arc::new(provider.expect("connected")));
    let other =
        LockingModule::with_provider(connect(options(&server.url())).await.expect("connected"));
    let keys: Vec<String> = (0..300).map(|n| format!("k{n}")).collect();
    let held = other.acquire(&keys).await.expect("free");
    let mut waiting = JoinSet::new();
    for key in &keys {
        let (module, key) = (module.clone(), key.clone());
        // Each asks for itself, and each is taken back.
        waiting.spawn(async move { module.acquire(key).wait(ms(300)).await.is_ok() });
    }
    for pair in keys.chunks(2) {
        let (module, pair) = (module.clone(), pair.to_vec());
        waiting.spawn(async move {
            let waits = module.lock(&pair).timeout(LONG).into_future();
            timeout(ms(300), waits).await.is_ok_and(|answer| answer.is_ok())
        });
    }
    let mut ended = 0;
    while ended < 450 {
        if let Ok(one) = timeout(ms(1), waiting.join_next()).await {
            let is_granted = one.expect("there are more").expect("no panic");
            assert!(!is_granted, "the key is held");
            ended += 1;
        }
        let status = pool.status();
        assert!(status.size - status.available <= 2, "more than half is in use: {status:?}");
    }
    assert!(other.release_lease(&held).await.expect("answered"));
    until_nothing_is_left(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_applications_own_queries_go_on_over_the_pool_that_it_shares() {
    let server = crate::server().await;
    let pool = applications_pool(&server.url(), 6);
    let provider = PostgresProvider::with_pool(id(), pool.clone(), options(&server.url())).await;
    let module = LockingModule::with_provider(Arc::new(provider.expect("connected")));
    let done = Arc::new(AtomicBool::new(false));
    let queries = tokio::spawn({
        let (pool, done) = (pool.clone(), Arc::clone(&done));
        async move {
            let (mut longest, mut times) = (Duration::ZERO, 0);
            while !done.load(Ordering::Relaxed) {
                let began = Instant::now();
                let client = pool.get().await.expect("there is one for the application");
                client.query_one("SELECT 1", &[]).await.expect("answered");
                longest = longest.max(began.elapsed());
                times += 1;
                drop(client);
                sleep(ms(1)).await;
            }
            (longest, times)
        }
    });
    let until = Instant::now() + scaled(LONG, SOON * 3);
    while Instant::now() < until {
        contend(&module, 300, 20).await;
    }
    done.store(true, Ordering::Relaxed);
    let (longest, times) = queries.await.expect("no panic");
    assert!(times > 50, "{times} queries");
    assert!(longest < SOON, "a query took {longest:?}");
    module.close(LONG).await.expect("closed");
    assert!(pool.get().await.is_ok(), "it is the application's");
    until_nothing_is_left(&server).await;
}
