//! Servers, databases and roles that are set up in ways that matter.

use std::sync::Arc;

use locking_core::{Error, LockingModule};
use locking_postgres::PostgresProvider;
use locking_testkit::history::{Workload, check};
use locking_testkit::servers::PostgresSetup;

use crate::pools::applications_pool;
use crate::{LONG, client, connect, id, module, options, problem, until_nothing_is_left};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_isolation_is_the_default_nobody_holds_twice() {
    for level in ["repeatable read", "serializable"] {
        let server = crate::server().await;
        let default = format!("ALTER ROLE postgres SET default_transaction_isolation = '{level}'");
        server.command(&default).await.expect("set");
        let clients = [client(&server).await, client(&server).await];
        let workload = Workload::new().with_operations(300);
        let history = workload.run(&clients, |n| format!("k{n}")).await;
        let violations = check(&history);
        assert!(violations.is_empty(), "seed {}: {violations:#?}", workload.seed());
        assert!(history.holds() > 50, "something was done");
        until_nothing_is_left(&server).await;
    }
}

#[tokio::test]
async fn an_applications_pool_of_another_isolation_is_a_mistake_that_is_said() {
    let server = crate::server().await;
    server
        .command("ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'")
        .await
        .expect("set");
    let pool = applications_pool(&server.url(), 2);
    let refused = PostgresProvider::with_pool(id(), pool, options(&server.url())).await;
    let (_, problem) = problem(refused);
    assert!(problem.contains("default_transaction_isolation"), "{problem}");
}

#[tokio::test]
async fn a_lease_outlives_a_crash_also_where_commits_are_not_waited_for() {
    // By itself, nothing would be written for ten seconds.
    let setup = PostgresSetup::new().durable().setting("wal_writer_delay", "10s");
    let server = setup.start().await.expect("a server");
    server.command("ALTER ROLE postgres SET synchronous_commit = 'off'").await.expect("set");
    let pool = applications_pool(&server.url(), 2);
    let provider = PostgresProvider::with_pool(id(), pool, options(&server.url())).await;
    let theirs = LockingModule::with_provider(Arc::new(provider.expect("connected")));
    let ours = module(&server).await;
    theirs.acquire("theirs").owner("o").await.expect("free");
    ours.acquire("ours").owner("o").await.expect("free");
    server.kill().await.expect("killed");
    server.start_again().await.expect("started");
    let after = module(&server).await;
    for key in ["theirs", "ours"] {
        let held = after.acquire(key).await;
        assert!(matches!(held, Err(Error::Held { .. })), "{key}: {held:?}");
    }
}

#[tokio::test]
async fn what_its_owner_gave_back_is_not_its_again_after_a_crash() {
    // By itself, nothing would be written for ten seconds.
    let setup = PostgresSetup::new().durable().setting("wal_writer_delay", "10s");
    let server = setup.start().await.expect("a server");
    let before = module(&server).await;
    let lease = before.acquire("k").owner("o").expire(LONG).await.expect("free");
    assert!(before.release("k").owner("o").await.expect("answered"), "it was held");
    let guard = before.lock("k").await.expect("free");
    assert!(guard.token() > lease.token());
    server.kill().await.expect("killed");
    server.start_again().await.expect("started");
    let after = module(&server).await;
    let again = after.acquire("k").owner("o").await;
    assert!(matches!(again, Err(Error::Held { .. })), "the guard may be believed in: {again:?}");
}

#[tokio::test]
async fn a_standby_is_not_available() {
    let server = crate::server().await;
    let before = module(&server).await;
    before.acquire("k").owner("o").await.expect("free");
    before.close(LONG).await.expect("closed");
    let folder = server.command("SHOW data_directory").await.expect("told");
    let signal = format!("COPY (SELECT 1) TO '{}/standby.signal'", folder.trim());
    server.command(&signal).await.expect("written");
    server.stop().await.expect("stopped");
    server.start_again().await.expect("started");
    let refused = connect(options(&server.url())).await.map(drop);
    let error = refused.expect_err("it takes no writes");
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(format!("{error:?}").contains("standby"), "{error:?}");
}

#[tokio::test]
async fn a_database_that_knows_not_every_key_is_a_mistake_that_is_said() {
    let server = crate::server().await;
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = encoding.to_lowercase();
        let made =
            format!("CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0");
        server.command(&made).await.expect("made");
        let (_, problem) = problem(connect(options(&server.database_url(&name))).await);
        assert!(problem.contains("UTF8"), "{problem}");
    }
}
