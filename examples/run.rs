//! Every example is run as a reader would run it: each ends with an error if what it shows isn't so.
//!
//! Cargo builds the examples of the whole workspace before it runs a test of it, so `cargo test --workspace`
//! runs what is there now. With `--package examples` alone, build them before: `cargo build --workspace
//! --examples`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use locking_testkit::servers::{PostgresSetup, RedisSetup};
use tokio::process::Command;
use tokio::time::timeout;

/// What says where the servers are.
const REDIS: &str = "LOCKING_REDIS_URL";
const POSTGRES: &str = "LOCKING_POSTGRES_URL";

/// They take seconds.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn quickstart_runs() {
    run("quickstart", &[]).await;
}

#[tokio::test]
async fn leader_runs() {
    run("leader", &[]).await;
}

#[tokio::test]
async fn configuration_runs() {
    run("configuration", &[]).await;
}

#[tokio::test]
async fn web_runs() {
    run("web", &[]).await;
}

#[tokio::test]
async fn several_providers_run_without_a_server() {
    run("several-providers", &[]).await;
}

#[tokio::test]
async fn workflow_says_without_a_server_what_it_leaves_out() {
    let said = run("workflow", &[]).await;
    assert!(said.contains("left out") && said.contains("LOCKING_REDIS_URL=redis://"), "{said}");
}

#[tokio::test]
async fn workflow_resumes_after_a_crash_with_redis() {
    let said = with_redis("workflow").await;
    assert_eq!(said.matches("the process dies").count(), 2, "{said}");
}

#[tokio::test]
async fn workflow_resumes_after_a_crash_with_postgresql() {
    let said = with_postgresql("workflow").await;
    assert_eq!(said.matches("the process dies").count(), 2, "{said}");
}

#[tokio::test]
async fn inventory_runs_with_redis() {
    with_redis("inventory").await;
}

#[tokio::test]
async fn cron_runs_with_redis() {
    with_redis("cron").await;
}

#[tokio::test]
async fn fenced_writes_run_with_redis() {
    with_redis("fenced-writes").await;
}

#[tokio::test]
async fn several_providers_run_with_redis() {
    with_redis("several-providers").await;
}

#[tokio::test]
async fn inventory_runs_with_postgresql() {
    with_postgresql("inventory").await;
}

#[tokio::test]
async fn cron_runs_with_postgresql() {
    with_postgresql("cron").await;
}

#[tokio::test]
async fn fenced_writes_run_with_postgresql() {
    with_postgresql("fenced-writes").await;
}

#[tokio::test]
async fn several_providers_run_with_postgresql() {
    with_postgresql("several-providers").await;
}

async fn with_redis(example: &str) -> String {
    let redis = RedisSetup::new().start().await.expect("a server");
    run(example, &[(REDIS, redis.url())]).await
}

async fn with_postgresql(example: &str) -> String {
    let postgres = PostgresSetup::new().start().await.expect("a server");
    run(example, &[(POSTGRES, postgres.url())]).await
}

/// Runs an example to its end, and answers what it printed, which is shown if the test fails.
async fn run(example: &str, environment: &[(&str, String)]) -> String {
    let program = built(example);
    let mut command = Command::new(&program);
    for variable in [REDIS, POSTGRES, "REPORT_PATIENCE"] {
        command.env_remove(variable);
    }
    command.envs(environment.iter().map(|(name, value)| (*name, value)));
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ended = timeout(LIMIT, command.output()).await;
    let ended = ended.unwrap_or_else(|_| panic!("`{example}` doesn't end"));
    let ended = ended.unwrap_or_else(|error| {
        panic!("{}: {error}; build it: cargo build --workspace --examples", program.display())
    });
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    println!("{said}");
    eprintln!("{}", String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "`{example}`: {}", ended.status);
    said
}

/// Where Cargo puts the example: this test is in `deps`, beside `examples`.
fn built(example: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test is a file");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("it is in `deps`");
    profile.join("examples").join(format!("{example}{}", std::env::consts::EXE_SUFFIX))
}
