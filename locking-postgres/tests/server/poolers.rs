//! Poolers before the server, of which the provider isn't told.

use locking_core::{LockingModule, LossReason};
use locking_testkit::servers::{PgBouncer, PgBouncerSetup, Postgres};
use tokio::time::timeout;

use crate::{LONG, SOON, connect, is_free, module, ms, options, problem};

/// One that says nothing of what it doesn't know.
fn quiet() -> PgBouncerSetup {
    PgBouncerSetup::new().setting("ignore_startup_parameters", "options,extra_float_digits")
}

async fn before(server: &Postgres, setup: PgBouncerSetup) -> PgBouncer {
    setup.start(server).await.expect("a pooler")
}

#[tokio::test]
async fn a_pooler_of_transactions_is_found_out_and_the_option_for_it_is_named() {
    let server = crate::server().await;
    let poolers = [
        PgBouncerSetup::new(),
        quiet(),
        quiet().setting("server_round_robin", "1"),
        quiet().setting("default_pool_size", "1"),
        quiet().setting("pool_mode", "statement"),
        quiet().setting("pool_mode", "statement").setting("server_round_robin", "1"),
    ];
    for setup in poolers {
        let shown = format!("{setup:?}");
        let pooler = before(&server, setup).await;
        for migrate_at_start in [false, true] {
            // As few connections as there can be at first, then more than one.
            if migrate_at_start {
                open_two(&pooler).await;
            }
            let mut options = options(&pooler.url());
            options.migrate_at_start = migrate_at_start;
            let (option, problem) = problem(connect(options).await);
            assert_eq!(option, "pgbouncer", "{shown}");
            assert!(problem.contains("`pgbouncer: true`"), "{shown}: {problem}");
            // One that refuses transactions is told from one that shares out connections.
            let is_of_statements = migrate_at_start
                && ["statement", "server_round_robin"].iter().all(|it| shown.contains(it));
            assert_eq!(problem.contains("`pool_mode`"), is_of_statements, "{shown}: {problem}");
        }
    }
}

/// Has a pooler open two connections, if it may have so many.
async fn open_two(pooler: &PgBouncer) {
    let query = async || {
        let connected = tokio_postgres::connect(&pooler.url(), tokio_postgres::NoTls).await;
        let (client, connection) = connected.expect("connected");
        tokio::spawn(connection);
        client.simple_query("SELECT pg_sleep(0.1)").await.expect("answered");
    };
    tokio::join!(query(), query());
}

#[tokio::test]
async fn a_pooler_of_transactions_at_work_is_found_out() {
    let server = crate::server().await;
    let setup = quiet().setting("server_round_robin", "1").setting("default_pool_size", "8");
    let pooler = before(&server, setup).await;
    let mut busy = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let url = pooler.url();
        busy.spawn(async move {
            let (client, connection) =
                tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("connected");
            tokio::spawn(connection);
            loop {
                client.simple_query("SELECT pg_sleep(random() * 0.004)").await.expect("answered");
                tokio::time::sleep(ms(fastrand::u64(..4))).await;
            }
        });
    }
    tokio::time::sleep(ms(200)).await;
    let (option, _) = problem(connect(options(&pooler.url())).await);
    assert_eq!(option, "pgbouncer");
}

#[tokio::test]
async fn a_pooler_of_sessions_is_as_good_as_none() {
    let server = crate::server().await;
    let pooler = before(&server, quiet().setting("pool_mode", "session")).await;
    let provider = connect(options(&pooler.url())).await.expect("sessions are its clients' own");
    let (pooled, direct) = (LockingModule::with_provider(provider), module(&server).await);
    let guard = pooled.lock("k").timeout(LONG).await.expect("free");
    assert!(!is_free(&direct, "k").await);
    let waiting = tokio::spawn({
        let pooled = pooled.clone();
        async move { pooled.lock("k").timeout(LONG).await }
    });
    guard.release().await.expect("held");
    waiting.await.expect("no panic").expect("granted").release().await.expect("held");
    assert!(is_free(&direct, "k").await);
}

#[tokio::test]
async fn a_session_that_is_shared_out_later_is_given_up() {
    let server = crate::server().await;
    let pooler = before(&server, quiet().setting("pool_mode", "session")).await;
    let mut options = options(&pooler.url());
    options.takeover.heartbeat = ms(100);
    let provider = connect(options).await.expect("connected");
    let module = LockingModule::with_provider(provider);
    let guard = module.lock("k").lease(LONG).timeout(LONG).await.expect("free");
    guard.check().expect("valid");
    pooler.console("SET pool_mode = 'transaction'").await.expect("set");
    let working = async {
        for n in 0.. {
            // Whatever comes of it: the sessions go from hand to hand.
            drop(module.acquire(format!("other{n}")).await);
            tokio::time::sleep(ms(3)).await;
        }
    };
    let lost = tokio::select! {
        lost = timeout(SOON * 10, guard.lost()) => lost.expect("the session is given up"),
        () = working => unreachable!("it goes on"),
    };
    assert_eq!(lost, LossReason::SessionEnded);
}
