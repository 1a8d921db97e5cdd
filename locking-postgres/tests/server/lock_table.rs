//! The server's table of locks, which all its sessions share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use locking_testkit::servers::PostgresSetup;
use tokio::task::JoinSet;

use crate::{LONG, foreign, module, scaled, until_nothing_is_left};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_for_many_keys_leave_others_their_locks() {
    let setup = PostgresSetup::new().setting("max_locks_per_transaction", "10").max_connections(20);
    let server = setup.start().await.expect("a server");
    let clients = [module(&server).await, module(&server).await];
    let other = foreign(&server).await;
    let done = Arc::new(AtomicBool::new(false));
    let others = tokio::spawn({
        let done = Arc::clone(&done);
        async move {
            let mut times = 0;
            while !done.load(Ordering::Relaxed) {
                let locks = "BEGIN; SELECT count(pg_advisory_xact_lock(7, n)) FROM generate_series(1, 20) n;
                             LOCK TABLE pg_catalog.pg_class IN ACCESS SHARE MODE; ROLLBACK";
                other.batch_execute(locks).await.expect("there is room for others");
                times += 1;
            }
            times
        }
    });
    let mut tasks = JoinSet::new();
    for task in 0..64 {
        let module = clients[task % 2].clone();
        tasks.spawn(async move {
            for round in 0..scaled(50, 2) {
                // Half of a request's keys are those of others.
                let keys = (0..500).map(|n| match n % 2 {
                    0 => format!("{task}/{n}"),
                    _ => format!("{}/{n}", round % 8),
                });
                if task % 4 == 0 {
                    let guard = module.lock(keys.collect::<Vec<_>>()).timeout(LONG * 5).await;
                    guard.expect("granted").release().await.expect("held to the end");
                } else {
                    let owner = format!("owner{task}");
                    let key = format!("single{}", task % 16);
                    let lease = module.acquire(&key).owner(&owner).wait(LONG * 5).await;
                    let lease = lease.expect("granted");
                    assert!(module.release_lease(&lease).await.expect("answered"));
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no panic");
    }
    done.store(true, Ordering::Relaxed);
    assert!(others.await.expect("no panic") > 0);
    until_nothing_is_left(&server).await;
}
