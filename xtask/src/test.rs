use crate::command::{Result, cargo};
use crate::engine;
use crate::images::{Image, POSTGRES_IMAGE, REDIS_IMAGE};
use crate::outsiders;
use crate::packages::{FAKETIME, PGBOUNCER, POSTGRES, Package, REDIS};
use crate::source::{SOURCE, Source};
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

/// A kind of server under test.
pub(crate) struct Server {
    package: Package,
    image: Image,
    /// The variable that names one which runs already.
    address: &'static str,
}

pub(crate) const REDIS_SERVER: Server =
    Server { package: REDIS, image: REDIS_IMAGE, address: "LOCKING_TEST_REDIS_URL" };
pub(crate) const POSTGRES_SERVER: Server =
    Server { package: POSTGRES, image: POSTGRES_IMAGE, address: "LOCKING_TEST_POSTGRES_URL" };

/// Sets up what the tests need, and runs all of them.
pub(crate) fn run(steps: &mut Steps) -> Result {
    let source = set_up()?;
    // Doctests run with them; a crate's contract suite is a test without a harness of Rust's.
    // All of them, also after one that fails: what else fails is worth knowing.
    let mut tests = cargo(&["test", "--workspace", "--all-features", "--no-fail-fast"]);
    tests.envs(source.variables());
    steps.test("tests", &mut tests)?;
    let mut bare = cargo(&["test", "--package", "locking-postgres", "--package", "locking-redis"]);
    bare.args(["--no-default-features", "--lib"]).envs(source.variables());
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

/// Tests start their servers themselves. What has to be there is their programs, or else Docker.
fn set_up() -> Result<Source> {
    // It is a process wherever the server behind it comes from.
    let mut missing: Vec<_> = PGBOUNCER.ensure().err().into_iter().collect();
    // Elsewhere the cases that need it are ignored.
    if cfg!(target_os = "linux") {
        missing.extend(FAKETIME.ensure().err());
    }
    let source = source_of(&[REDIS_SERVER, POSTGRES_SERVER], &mut missing);
    if missing.is_empty() { Ok(source) } else { Err(missing.join("\n")) }
}

/// The same for the contract suite on these servers. Its cases that need what can't be installed are ignored.
///
/// # Errors
///
/// The servers that are missing.
pub(crate) fn set_up_suite(servers: &[Server]) -> Result<Source> {
    let mut missing = Vec::new();
    if cfg!(target_os = "linux")
        && let Err(without) = FAKETIME.ensure()
    {
        eprintln!("{without}");
    }
    let source = source_of(servers, &mut missing);
    if missing.is_empty() { Ok(source) } else { Err(missing.join("\n")) }
}

/// The source that is the fastest, unless somebody chose one already, or named a server; and what isn't there
/// for it and can't be installed from here.
fn source_of(servers: &[Server], missing: &mut Vec<String>) -> Source {
    let set = |variable| std::env::var_os(variable).filter(|value| !value.is_empty());
    let is_named = servers.iter().any(|server| set(server.address).is_some());
    let chosen = set(SOURCE);
    if chosen.as_ref().is_some_and(|chosen| chosen != "process") {
        return Source::default();
    }
    let programs: Vec<_> =
        servers.iter().filter_map(|server| server.package.ensure().err()).collect();
    let source = if !programs.is_empty() && chosen.is_none() && engine::is_running() {
        let containers = Source::containers(servers.iter().map(|server| &server.image));
        containers.unwrap_or_else(|problem| {
            missing.push(problem);
            Source::default()
        })
    } else {
        missing.extend(programs);
        Source::processes()
    };
    if is_named || chosen.is_some() { source.not_forced() } else { source }
}
