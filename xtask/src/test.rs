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
    tests.envs(source);
    steps.test("tests", &mut tests)?;
    let mut bare = cargo(&["test", "--package", "locking-postgres", "--package", "locking-redis"]);
    bare.args(["--no-default-features", "--lib"]).envs(source);
    steps.test("providers without TLS", &mut bare)?;
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
/// answers the variable that names the source that is the fastest, unless somebody chose one already.
///
/// # Errors
///
/// All that is missing.
pub(crate) fn set_up() -> Result<Option<(&'static str, &'static str)>> {
    let mut needed = Vec::new();
    // Elsewhere the cases that need it are ignored.
    if cfg!(target_os = "linux") {
        needed.push(FAKETIME);
    }
    // It is a process wherever the server behind it comes from.
    needed.push(PGBOUNCER);
    let chosen = std::env::var(SOURCE).ok();
    let (mut missing, mut source) = (missing_of(&needed), None);
    match chosen.as_deref() {
        None => {
            let servers = missing_of(&SERVERS);
            let by_container = !servers.is_empty() && engine::is_running();
            source = Some((SOURCE, if by_container { "container" } else { "process" }));
            missing.extend(servers.into_iter().filter(|_| !by_container));
        }
        Some("process") => missing.extend(missing_of(&SERVERS)),
        Some(_) => {}
    }
    if missing.is_empty() { Ok(source) } else { Err(missing.join("\n")) }
}

/// What isn't there and can't be installed from here.
fn missing_of(packages: &[Package]) -> Vec<String> {
    packages.iter().filter_map(|package| package.ensure().err()).collect()
}
