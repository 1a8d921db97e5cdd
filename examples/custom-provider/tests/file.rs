//! What the suite can't see: what becomes of the file, and what is done to it.

use std::path::Path;
use std::time::{Duration, Instant};

use locking_core::{ConfigurationError, Error, LockingConfig, LockingModule, ProviderConfig};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn entry(path: &Path) -> ProviderConfig {
    let path = path.to_str().expect("a path in UTF-8");
    ProviderConfig::new(locking_sqlite::IDENTIFIER).with_option("path", path)
}

async fn connect(entry: ProviderConfig) -> locking_core::Result<LockingModule> {
    LockingModule::new(LockingConfig::new().with_provider(entry)).await
}

async fn module(path: &Path) -> LockingModule {
    connect(entry(path)).await.expect("a file")
}

/// The option that is told where the file won't do.
const PATH: &str = "`providers[0].options.path`";

/// What a configuration with this entry is refused for.
async fn refused(entry: ProviderConfig) -> String {
    match connect(entry).await {
        Err(Error::Configuration(error @ ConfigurationError::Option { .. })) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// The file, as another program sees it.
fn sql(path: &Path) -> Connection {
    Connection::open(path).expect("the file")
}

/// As if the machine had been started again: the file is of another boot, whose clock stood elsewhere.
fn start_again(path: &Path) {
    let change = "UPDATE locking_state SET boot = 'an earlier one';
        UPDATE locking_hold SET expires = 1 WHERE expires IS NOT NULL;";
    sql(path).execute_batch(change).expect("changed");
}

#[tokio::test]
async fn holds_of_an_earlier_boot_have_all_of_their_time_anew() {
    let folder = folder();
    let path = folder.path().join("locks");
    let before = module(&path).await;
    before.acquire("guard").owner("me").expire(HOUR).await.expect("free");
    before.acquire("short").owner("me").expire(HOUR).await.expect("free");
    let endless = before.acquire("endless").owner("me").await.expect("free");
    // A guard that nobody renews any more.
    let change = "UPDATE locking_hold SET kind = 'guard' WHERE key = 'guard'";
    sql(&path).execute_batch(change).expect("changed");
    start_again(&path);
    let after = module(&path).await;
    for key in ["guard", "short"] {
        let left = after.inspect(key).await.expect("answered").expect("held").expires_in;
        assert!(left.is_some_and(|left| left > HOUR - SOON && left <= HOUR), "{key}: {left:?}");
    }
    assert_eq!(after.inspect("endless").await.expect("answered").expect("held").expires_in, None);
    assert!(after.release_lease(&endless).await.expect("answered"));
}

#[tokio::test]
async fn a_client_that_meets_a_file_of_an_earlier_boot_ends_nobodys_hold() {
    let folder = folder();
    let path = folder.path().join("locks");
    let locks = module(&path).await;
    locks.acquire("k").expire(HOUR).await.expect("free");
    start_again(&path);
    let taken = locks.acquire("k").await;
    assert!(matches!(taken, Err(Error::Held { .. })), "{taken:?}");
}

#[tokio::test]
async fn what_had_ended_in_an_earlier_boot_is_not_held_anew() {
    let folder = folder();
    let path = folder.path().join("locks");
    let before = module(&path).await;
    before.acquire("ended").expire(HOUR).await.expect("free");
    before.acquire("later").expire(HOUR).await.expect("free");
    start_again(&path);
    // The clock of that boot was at 1000 when the later one was taken.
    let change = "UPDATE locking_hold SET expires = 1000 + lasts WHERE key = 'later'";
    sql(&path).execute_batch(change).expect("changed");
    let after = module(&path).await;
    assert!(after.inspect("ended").await.expect("answered").is_none());
    assert!(after.inspect("later").await.expect("answered").is_some());
}

#[tokio::test]
async fn what_is_over_is_swept_away_when_a_client_connects() {
    let folder = folder();
    let path = folder.path().join("locks");
    module(&path).await.acquire("k").expire(HOUR).await.expect("free");
    sql(&path).execute_batch("UPDATE locking_hold SET expires = 1").expect("changed");
    let _connected = module(&path).await;
    let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let left = sql(&path).query_row("SELECT count(*) FROM locking_hold", [], count);
    assert_eq!(left.expect("a number"), 0);
}

#[tokio::test]
async fn tokens_grow_though_the_counter_was_set_back() {
    let folder = folder();
    let path = folder.path().join("locks");
    let mut last = module(&path).await.acquire("k").owner("me").await.expect("free").token();
    // By a copy of the file of this boot, or by a crash of the machine.
    for crashed in [false, true] {
        if crashed {
            start_again(&path);
        }
        let change = "UPDATE locking_state SET last_token = 1; DELETE FROM locking_hold";
        sql(&path).execute_batch(change).expect("changed");
        let token = module(&path).await.acquire("k").await.expect("free").token();
        assert!(token > last, "{token} after {last}");
        last = token;
    }
}

#[tokio::test]
async fn a_file_that_was_deleted_is_made_again_and_nobody_locks_in_the_old_one() {
    let folder = folder();
    let path = folder.path().join("locks");
    let (one, other) = (module(&path).await, module(&path).await);
    let guard = one.lock("k").lease(Duration::from_secs(3)).await.expect("free");
    for file in ["locks", "locks-wal", "locks-shm"] {
        std::fs::remove_file(folder.path().join(file)).expect("it was there");
    }
    let next = other.lock("k").await.expect("free in the new file");
    assert!(next.token() > guard.token());
    timeout(SOON, guard.lost()).await.expect("its renewal finds nothing");
    assert!(matches!(one.acquire("k").await, Err(Error::Held { .. })), "it is in the new file");
}

#[tokio::test]
async fn a_newer_file_is_refused_and_left_as_it_is() {
    let folder = folder();
    let path = folder.path().join("locks");
    module(&path).await.close(SOON).await.expect("closed");
    sql(&path).pragma_update(None, "user_version", 99).expect("changed");
    let problem = refused(entry(&path)).await;
    assert!(problem.contains("path") && problem.contains("version 99"), "{problem}");
    let version: i64 =
        sql(&path).pragma_query_value(None, "user_version", |row| row.get(0)).expect("a number");
    assert_eq!(version, 99);
}

#[tokio::test]
async fn a_client_that_meets_a_newer_file_does_nothing_to_it() {
    let folder = folder();
    let path = folder.path().join("locks");
    let locks = module(&path).await;
    locks.acquire("k").await.expect("free");
    sql(&path).pragma_update(None, "user_version", 99).expect("changed");
    let (acquired, seen) = (locks.acquire("other").await.err(), locks.inspect("k").await.err());
    for refused in [acquired, seen] {
        assert!(matches!(refused, Some(Error::Configuration(_))), "{refused:?}");
    }
    let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let held = sql(&path).query_row("SELECT count(*) FROM locking_hold", [], count);
    assert_eq!(held.expect("a number"), 1);
    sql(&path).pragma_update(None, "user_version", 1).expect("changed");
    locks.acquire("other").await.expect("free");
}

#[tokio::test]
async fn another_programs_file_is_refused_and_left_as_it_is() {
    let folder = folder();
    let path = folder.path().join("shop");
    sql(&path).execute_batch("CREATE TABLE orders (id INTEGER)").expect("made");
    let before = std::fs::read(&path).expect("a file");
    let problem = refused(entry(&path)).await;
    assert!(problem.contains("another program's"), "{problem}");
    assert_eq!(std::fs::read(&path).expect("a file"), before);
}

#[tokio::test]
async fn what_is_no_file_of_sqlites_is_refused() {
    let folder = folder();
    let path = folder.path().join("text");
    std::fs::write(&path, "no database, and long enough to be looked at as one".repeat(100))
        .expect("written");
    let problem = refused(entry(&path)).await;
    assert!(problem.contains("damaged, or isn't SQLite's"), "{problem}");
}

#[tokio::test]
async fn a_file_with_another_name_is_refused_by_both_and_has_nothing_beside_it() {
    let folder = folder();
    let (path, other) = (folder.path().join("locks"), folder.path().join("other"));
    module(&path).await.close(SOON).await.expect("closed");
    std::fs::hard_link(&path, &other).expect("linked");
    for name in [&path, &other] {
        let problem = refused(entry(name)).await;
        assert!(problem.contains(PATH) && problem.contains("another name"), "{problem}");
    }
    assert!(!folder.path().join("other-wal").exists());
    std::fs::remove_file(&other).expect("it was there");
    module(&path).await.acquire("k").await.expect("free");
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_a_mistake_in_the_options() {
    let folder = folder();
    for path in [folder.path().to_owned(), folder.path().join("no/such/folder")] {
        let problem = refused(entry(&path)).await;
        assert!(problem.contains(PATH) && problem.contains("opened"), "{problem}");
    }
}

#[tokio::test]
async fn options_that_will_not_do_are_named_before_the_file_is_touched() {
    let folder = folder();
    let path = folder.path().join("locks");
    let without = ProviderConfig::new(locking_sqlite::IDENTIFIER);
    let cases = [
        (without, "path"),
        (entry(Path::new("")), "path"),
        (entry(&folder.path().join("a\0b")), "NUL byte"),
        (entry(&path).with_option("maximum_retry_interval", "2s"), "maximum_retry_interval"),
        (entry(&path).with_option("default_retry_interval", "400ms"), "default_retry_interval"),
        (entry(&path).with_option("default_retry_interval", 5), "default_retry_interval"),
        (entry(&path).with_option("busy_timeout", 0), "busy_timeout"),
        (entry(&path).with_option("wait_locking_timeout", -1), "wait_locking_timeout"),
        (entry(&path).with_option("colour", "red"), "colour"),
    ];
    for (entry, option) in cases {
        let problem = refused(entry).await;
        assert!(problem.contains(option), "{option}: {problem}");
    }
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_others_keep_busy_is_unavailable_after_the_timeout_and_works_again() {
    let folder = folder();
    let path = folder.path().join("locks");
    let locks = connect(entry(&path).with_option("busy_timeout", "100ms")).await.expect("a file");
    let busy = sql(&path);
    busy.execute_batch("BEGIN IMMEDIATE").expect("alone");
    let began = Instant::now();
    let refused = locks.acquire("k").await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    assert!(began.elapsed() >= Duration::from_millis(100));
    let began = Instant::now();
    let asking: Vec<_> = (0..50)
        .map(|n| {
            let locks = locks.clone();
            tokio::spawn(async move { locks.release(format!("k{n}")).await })
        })
        .collect();
    for asked in asking {
        let refused = asked.await.expect("no panic");
        assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(1), "they wait together: {:?}", began.elapsed());
    assert!(locks.inspect("k").await.expect("who reads waits for nobody").is_none());
    let began = Instant::now();
    let wait = Duration::from_millis(300);
    let waited = locks.acquire("k").wait(wait).await;
    let ends = matches!(waited, Err(Error::Unavailable { .. } | Error::UnknownOutcome { .. }));
    assert!(ends && began.elapsed() < wait * 3, "{waited:?}");
    busy.execute_batch("ROLLBACK").expect("gone");
    // What may still have been asked for is given back.
    locks.acquire("k").wait(SOON).await.expect("free");
}
