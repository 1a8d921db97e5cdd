//! What several processes do to one file, also when they are killed.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use locking_core::{Error, FencingToken, LockingModule, ProviderId};
use locking_sqlite::{SqliteOptions, SqliteProvider};

/// Tells this program, started again, which file it works on.
const FILE: &str = "LOCKING_SQLITE_FILE";

async fn module(path: &Path) -> LockingModule {
    let id = ProviderId::new(locking_sqlite::IDENTIFIER).expect("an id");
    let provider = SqliteProvider::connect(id, SqliteOptions::new(path)).await.expect("a file");
    LockingModule::with_provider(std::sync::Arc::new(provider))
}

/// This program again, as one of its tests that are ignored.
fn program(role: &str, path: &Path) -> Command {
    let mut program = Command::new(std::env::current_exe().expect("a path"));
    program.args(["--exact", role, "--ignored", "--nocapture", "--quiet"]).env(FILE, path);
    program.stdin(Stdio::null()).stdout(Stdio::piped());
    program
}

fn start(role: &str, path: &Path) -> Child {
    program(role, path).spawn().expect("started")
}

fn file() -> PathBuf {
    std::env::var_os(FILE).expect("it is started by another test").into()
}

#[tokio::test]
async fn any_number_of_processes_may_make_the_file_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    for round in 0..5 {
        let path = folder.path().join(format!("locks{round}"));
        let processes: Vec<_> = (0..8).map(|_| start("acquires_one_key_of_many", &path)).collect();
        for process in processes {
            let ended = process.wait_with_output().expect("it ends");
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
        }
        assert_eq!(module(&path).await.list().await.expect("answered").len(), 8);
    }
}

#[tokio::test]
async fn a_path_is_a_files_name_whatever_it_looks_like() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in [":memory:", "file:locks?mode=memory"] {
        for _ in 0..2 {
            let mut process = program("acquires_one_key_of_many", Path::new(name));
            let ended = process.current_dir(&folder).status().expect("it runs");
            assert!(ended.success(), "{name}");
        }
        let held = module(&folder.path().join(name)).await.list().await.expect("answered");
        assert_eq!(held.len(), 2, "{name}");
    }
}

#[tokio::test]
#[ignore = "a part of any_number_of_processes_may_make_the_file_at_once"]
async fn acquires_one_key_of_many() {
    let key = std::process::id().to_string();
    module(&file()).await.acquire(key).await.expect("free");
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill_and_all_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("locks");
    let mut last = FencingToken::new(0);
    for round in 0..20_u64 {
        let mut process = start("acquires_and_releases", &path);
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        // At a moment that is another each time, in the middle of whatever it does.
        let told = lines.by_ref().map_while(Result::ok).find(|line| is_told(line));
        std::thread::sleep(Duration::from_micros(round * 731));
        process.kill().expect("it ran");
        process.wait().expect("it ended");
        let told = told.into_iter().chain(lines.map_while(Result::ok));
        let told: Vec<String> = told.filter(|line| is_told(line)).collect();
        let locks = module(&path).await;
        // The last line may be half of one.
        for line in &told[..told.len() - 1] {
            let (number, token) = line[LINE.len()..].split_once(' ').expect("two numbers");
            let token = FencingToken::new(token.parse().expect("a number"));
            assert!(token > last, "{token} after {last}");
            last = token;
            let key = format!("{}/{number}", process.id());
            let held = locks.inspect(&key).await.expect("answered");
            assert_eq!(held.expect("acknowledged").token, token);
            assert!(locks.inspect(format!("{key}/released")).await.expect("answered").is_none());
        }
        locks.acquire("by somebody else").expire(Duration::from_millis(1)).await.expect("free");
        locks.release_all().await.expect("answered");
    }
    assert!(last > FencingToken::new(0), "some lines were looked at");
    let sound: String = rusqlite::Connection::open(&path)
        .and_then(|file| file.query_row("PRAGMA integrity_check", [], |row| row.get(0)))
        .expect("a file");
    assert_eq!(sound, "ok");
}

#[test]
fn a_commit_that_the_disk_fails_is_of_unknown_outcome_and_all_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, program) = (folder.path().join("locks"), std::env::current_exe().expect("a path"));
    // No file of this process gets longer, and it isn't killed for that.
    let limited = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\"";
    let mut process = Command::new("sh");
    process.args(["-c", limited]).arg(program);
    process.args(["--exact", "acquires_until_the_disk_fails", "--ignored", "--nocapture"]);
    let ended = process.env(FILE, &path).output().expect("it runs");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[tokio::test]
#[ignore = "a part of a_commit_that_the_disk_fails_is_of_unknown_outcome_and_all_goes_on"]
async fn acquires_until_the_disk_fails() {
    let locks = module(&file()).await;
    for _ in 0..10_000 {
        let failed = match locks.acquire("k").owner("me").await {
            Ok(lease) => locks.release_lease(&lease).await.err(),
            Err(error) => Some(error),
        };
        if let Some(error) = failed {
            assert!(matches!(error, Error::UnknownOutcome { .. }), "{error:?}");
            locks.acquire("other").await.expect("the log is begun anew");
            return;
        }
    }
    panic!("the disk never failed");
}

/// Begins what a process tells.
const LINE: &str = "acquired ";

fn is_told(line: &str) -> bool {
    line.starts_with(LINE)
}

#[tokio::test]
#[ignore = "a part of what_was_acknowledged_is_there_after_a_kill_and_all_goes_on"]
async fn acquires_and_releases() {
    let (locks, me) = (module(&file()).await, std::process::id());
    for number in 0_u64.. {
        let kept = locks.acquire(format!("{me}/{number}")).await.expect("free");
        let key = format!("{me}/{number}/released");
        let lease = locks.acquire(&key).owner("me").await.expect("free");
        assert!(locks.release_lease(&lease).await.expect("answered"));
        println!("{LINE}{number} {}", kept.token());
        std::io::stdout().flush().expect("somebody reads");
    }
}
