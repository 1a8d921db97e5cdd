//! A user that may use the tables, and not change them.

use locking_core::{Error, LockingModule};
use locking_testkit::servers::Postgres;
use tokio::time::{sleep, timeout};

use crate::{LONG, is_free, ms, quick};

/// The words of the error for a user that may not.
const GRANTS: &str = "CREATE ROLE app LOGIN;
    GRANT USAGE ON SCHEMA locking TO app;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA locking TO app;
    GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA locking TO app;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA locking TO app";

async fn works(server: &Postgres) {
    let url = format!("postgres://app@{}/postgres", server.address());
    let module = LockingModule::with_provider(quick(&url).await);
    // After a crash nothing is granted for a while.
    let lease = module.acquire(["a", "b"]).owner("o").expire(LONG).wait(LONG).await;
    let lease = lease.expect("free");
    module.extend(&lease, LONG * 2).await.expect("held");
    assert_eq!(module.inspect("a").await.expect("answered").expect("held").token, lease.token());
    assert_eq!(module.list().await.expect("answered").len(), 2);
    let guard = module.lock("c").timeout(LONG).await.expect("free");
    let waiting = tokio::spawn({
        let module = module.clone();
        async move { module.lock(["a", "c"]).timeout(LONG).await }
    });
    sleep(ms(100)).await;
    assert!(matches!(module.acquire("c").wait(ms(50)).await, Err(Error::TimedOut { .. })));
    guard.release().await.expect("held");
    assert!(module.release(["a", "b"]).owner("o").await.expect("answered"));
    let both = timeout(LONG, waiting).await.expect("in time").expect("no panic").expect("granted");
    both.release().await.expect("held");
    module.acquire("d").expire(ms(100)).await.expect("free");
    module.lock("e").lease(ms(300)).await.expect("free").release().await.expect("held");
    assert_eq!(module.release_all().including_running().await.expect("answered"), 1);
    assert!(is_free(&module, "a").await);
    module.close(LONG).await.expect("closed");
}

#[tokio::test]
async fn who_may_only_use_the_tables_can_do_all_that_a_client_does() {
    let server = crate::server().await;
    let made = LockingModule::with_provider(quick(&server.url()).await);
    made.close(LONG).await.expect("closed");
    server.command(GRANTS).await.expect("granted");
    server.command("REVOKE ALL ON SCHEMA public FROM public").await.expect("revoked");
    works(&server).await;
    // Where a crash emptied the unlogged tables, it makes what has to be there.
    server.kill().await.expect("killed");
    server.start_again().await.expect("started");
    works(&server).await;
}
