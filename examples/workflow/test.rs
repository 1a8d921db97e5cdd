//! Runs the example without a server and with each.

use std::path::PathBuf;
use std::process::Command;

use locking_testkit::servers::{Postgres, Redis};

#[test]
fn without_a_server_it_says_what_it_leaves_out() {
    let said = run(None);
    assert!(said.contains("left out") && said.contains("LOCKING_REDIS_URL=redis://"), "{said}");
}

#[tokio::test]
async fn with_redis_a_process_that_dies_goes_on_with_its_lock() {
    let server = Redis::start().await.expect("a server");
    let said = run(Some(("LOCKING_REDIS_URL", server.url())));
    assert_eq!(said.matches("the process dies").count(), 2, "{said}");
}

#[tokio::test]
async fn with_postgres_a_process_that_dies_goes_on_with_its_lock() {
    let server = Postgres::start().await.expect("a server");
    let said = run(Some(("LOCKING_POSTGRES_URL", server.url())));
    assert_eq!(said.matches("the process dies").count(), 2, "{said}");
}

/// Runs the example to its good end, and gives what it said.
fn run(server: Option<(&str, String)>) -> String {
    let mut example = Command::new(example());
    example.env_remove("LOCKING_REDIS_URL").env_remove("LOCKING_POSTGRES_URL").envs(server);
    let ended =
        example.output().expect("the example was built: `cargo test` does, unless `--test`");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    said
}

/// Cargo puts examples beside the folder of the tests.
fn example() -> PathBuf {
    let tests = std::env::current_exe().expect("this test's program");
    let built = tests.ancestors().nth(2).expect("a folder of what was built");
    built.join("examples").join("workflow").with_extension(std::env::consts::EXE_EXTENSION)
}
