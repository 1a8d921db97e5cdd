use crate::command::{Result, cargo};
use crate::engine;
use crate::outsiders;
use crate::packages::{FAKETIME, PGBOUNCER, POSTGRES, Package, REDIS};
use crate::steps::Steps;

/// The feature sets of the facade. Each is built alone: in a build of the whole workspace one
/// member's features are every member's.
const FEATURE_SETS: [&[&str]; 5] = [
    &[],
    &["--no-default-features"],
    &["--no-default-features", "--features", "memory"],
    &["--no-default-features", "--features", "postgres"],
    &["--no-default-features", "--features", "redis"],
];

/// The programs of servers under test.
const SERVERS: [Package; 2] = [REDIS, POSTGRES];

/// The variable by which the testkit is told where servers come from.
const SOURCE: &str = "LOCKING_TEST_SERVERS";

/// Sets up what the tests need, and runs all of them.
pub(crate) fn run(steps: &mut Steps) -> Result {
    let source = set_up()?;
    // Doctests run with them; a crate's contract suite is a test without a harness of Rust's.
    // All of them, also after one that fails: what else fails is worth knowing.
    let mut tests = cargo(&["test", "--workspace", "--all-features", "--no-fail-fast"]);
    tests.envs(source.map(|source| (SOURCE, source)));
    steps.test("tests", &mut tests)?;
    for features in FEATURE_SETS {
        let name = match features {
            [] => "facade, default features".to_owned(),
            features => format!("facade, {}", features.join(" ")),
        };
        steps.test(&name, cargo(&["test", "--package", "locking"]).args(features))?;
    }
    outsiders::test(steps)
}

/// Tests start their servers themselves. What has to be there is their programs, or else Docker;
/// answers the source that is the fastest, unless somebody chose one already.
fn set_up() -> Result<Option<&'static str>> {
    // Elsewhere the cases that need it are ignored.
    if cfg!(target_os = "linux") {
        FAKETIME.ensure()?;
    }
    // It is a process wherever the server behind it comes from.
    PGBOUNCER.ensure()?;
    if std::env::var_os(SOURCE).is_some() {
        return Ok(None);
    }
    match SERVERS.iter().try_for_each(Package::ensure) {
        Ok(()) => Ok(Some("process")),
        Err(_) if engine::is_running() => Ok(Some("container")),
        Err(missing) => Err(missing),
    }
}
