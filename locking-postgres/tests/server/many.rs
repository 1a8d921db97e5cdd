//! Many holds at once, and many one after another.

use locking_core::LockingModule;
use locking_testkit::servers::Postgres;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep};

use crate::{LONG, foreign, module, ms, number, scaled, until_nothing_is_left};

/// Does something with each number, many at a time.
async fn each<F>(count: usize, work: impl Fn(usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for n in 0..count {
        if tasks.len() >= 256 {
            tasks.join_next().await.expect("some are under way").expect("no panic");
        }
        tasks.spawn(work(n));
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no panic");
    }
}

/// How long it takes on average to take a key and give it back.
async fn pace(module: &LockingModule, times: u32) -> Duration {
    let began = Instant::now();
    for n in 0..times {
        let lease = module.acquire(format!("pace{n}")).expire(LONG).await.expect("free");
        assert!(module.release_lease(&lease).await.expect("answered"));
        let guard = module.lock(format!("pace{n}")).timeout(LONG).await.expect("free");
        guard.release().await.expect("held");
    }
    began.elapsed() / times
}

async fn scans(server: &Postgres) -> i64 {
    // Sessions report once a second at most.
    sleep(ms(1200)).await;
    number(
        server,
        "SELECT sum(seq_scan)::bigint FROM pg_stat_user_tables WHERE schemaname = 'locking'
             AND relname IN ('locking', 'locking_guard', 'locking_queue', 'locking_withdrawn')",
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_held_leases_are_in_nobodys_way() {
    let server = crate::server().await;
    let (module, other) = (module(&server).await, foreign(&server).await);
    other.batch_execute("CREATE TABLE theirs (n int)").await.expect("made");
    let (connections, empty) =
        (server.connections().await.expect("counted"), pace(&module, 50).await);
    let count = scaled(100_000, 10_000);
    let taking = module.clone();
    each(count, |n| {
        let module = taking.clone();
        async move {
            let owner = format!("owner{}", n % 100);
            module.acquire(format!("k{n}")).owner(owner).await.expect("free");
        }
    })
    .await;
    let held = number(&server, "SELECT count(*) FROM locking.locking").await;
    assert_eq!(usize::try_from(held).expect("a count"), count);
    assert_eq!(server.connections().await.expect("counted"), connections, "no more than before");
    let theirs = "BEGIN; SELECT count(pg_advisory_xact_lock(7, n)) FROM generate_series(1, 1000) n;
                  LOCK TABLE theirs; INSERT INTO theirs VALUES (1); COMMIT";
    let began = Instant::now();
    other.batch_execute(theirs).await.expect("as ever");
    assert!(began.elapsed() < LONG / 60, "{:?}", began.elapsed());

    pace(&module, 10).await;
    let before = scans(&server).await;
    let full = pace(&module, 100).await;
    // So that what was counted is reported.
    sleep(ms(1200)).await;
    pace(&module, 5).await;
    let after = scans(&server).await;
    assert!(after - before < 40, "{} tables were read from end to end", after - before);
    assert!(full < empty * 4 + ms(20), "{full:?} for what took {empty:?} when nothing was held");

    let freed = module.release_all().owner("owner7").await.expect("answered");
    assert_eq!(usize::try_from(freed).expect("a count"), count / 100);
    module.release_all().await.expect("answered");
    until_nothing_is_left(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_cycles_leave_small_tables() {
    let server = crate::server().await;
    let module = module(&server).await;
    let count = scaled(1_000_000, 20_000);
    each(count, |n| {
        let module = module.clone();
        async move {
            let key = format!("k{}", n % 5_000);
            if n % 2 == 0 {
                let guard = module.lock(key).timeout(LONG).await.expect("its turn comes");
                guard.release().await.expect("held");
            } else {
                let lease = module.acquire(key).wait(LONG).await.expect("its turn comes");
                assert!(module.release_lease(&lease).await.expect("answered"), "held");
            }
        }
    })
    .await;
    until_nothing_is_left(&server).await;
    let withdrawn = "SELECT count(*) FROM locking.locking_withdrawn";
    assert!(number(&server, withdrawn).await < 100, "no answer was lost");
    for table in ["locking", "locking_guard", "locking_queue", "locking_withdrawn"] {
        let table = format!("locking.{table}");
        server.command(&format!("VACUUM {table}")).await.expect("cleaned");
        let (rows, indexes) = (
            number(&server, &format!("SELECT pg_relation_size('{table}')")).await,
            number(&server, &format!("SELECT pg_indexes_size('{table}')")).await,
        );
        println!("{table}: {rows} and {indexes} bytes");
        assert!(rows <= 1 << 20, "{table}: {rows} bytes of rows");
        assert!(indexes <= 1 << 20, "{table}: {indexes} bytes of indexes");
    }
}
