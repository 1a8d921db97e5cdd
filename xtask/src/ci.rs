use std::env;
use std::path::PathBuf;

use crate::command::{Result, answers, cargo, target};
use crate::conformance::Conformance;
use crate::containers;
use crate::links;
use crate::outsiders;
use crate::steps::Steps;
use crate::test;

/// Members that others depend on.
const PUBLISHED: [&str; 6] = [
    "locking",
    "locking-core",
    "locking-memory",
    "locking-postgres",
    "locking-redis",
    "locking-testkit",
];

/// Members that are for this repository alone.
const UNPUBLISHED: [&str; 12] = [
    "bench",
    "configuration",
    "cron",
    "examples",
    "fenced-writes",
    "inventory-example",
    "leader",
    "quickstart",
    "several-providers",
    "web",
    "workflow",
    "xtask",
];

/// Everything that a change has to pass. It changes no file; the cheap checks come first.
pub(crate) fn run(steps: &mut Steps) -> Result {
    steps.run("format", &mut cargo(&["fmt", "--all", "--", "--check"]))?;
    steps.check("links", links::run)?;
    outsiders::format(steps)?;
    steps.run("lints", &mut clippy())?;
    outsiders::lint(steps)?;
    dependencies(steps)?;
    test::run(steps)?;
    containers::run(steps)?;
    steps.check("conformance", || Conformance::of_memory().run())?;
    steps.run("bench", &mut bench())?;
    steps.run("documentation", &mut documentation())?;
    outsiders::document(steps)?;
    forget_unpacked();
    steps.run("packages", &mut packages())?;
    // The others are built by the tests.
    let all = &["package", "--workspace", "--allow-dirty", "--no-verify", "--quiet"];
    steps.run("packages of all members", &mut cargo(all))
}

/// Whether it measures at all: without optimisation, and for a moment only, its figures say nothing.
fn bench() -> std::process::Command {
    let program = ["run", "--quiet", "--package", "bench", "--bin", "bench"];
    let mut command = cargo(&program);
    command.args(["--", "memory", "--seconds", "1"]);
    command
}

fn clippy() -> std::process::Command {
    cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"])
}

fn dependencies(steps: &mut Steps) -> Result {
    let name = "dependencies";
    if !answers(&mut cargo(&["deny", "--version"])) {
        steps.skip(name, "cargo-deny isn't installed");
        return Ok(());
    }
    steps.run(name, &mut cargo(&["deny", "check", "licenses", "bans", "sources"]))?;
    outsiders::check_dependencies(steps)
}

fn documentation() -> std::process::Command {
    let mut command = cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    command
}

/// Cargo unpacks the workspace's packages beside those of registries, and takes what it finds there, and
/// what it built of it, for the same as long as the version is: what an earlier state of this checkout
/// left is removed.
fn forget_unpacked() {
    let built = target().join("debug/.fingerprint");
    for fingerprint in built.read_dir().into_iter().flatten().flatten() {
        let name = fingerprint.file_name();
        if PUBLISHED.iter().any(|package| name.to_string_lossy().starts_with(package)) {
            // What couldn't be removed shows in the build.
            let _ = std::fs::remove_dir_all(fingerprint.path());
        }
    }
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let Some(sources) = home.map(|home| home.join("registry/src")) else { return };
    for registry in sources.read_dir().into_iter().flatten().flatten() {
        // Only the registry that `cargo package` makes up has no host in its name.
        if !registry.file_name().to_string_lossy().starts_with('-') {
            continue;
        }
        for name in PUBLISHED {
            let unpacked = registry.path().join(format!("{name}-{}", env!("CARGO_PKG_VERSION")));
            // Mostly it isn't there.
            let _ = std::fs::remove_dir_all(unpacked);
        }
    }
}

/// Builds every published crate from nothing but its package. Whether what is packed is committed
/// is no matter of the check.
fn packages() -> std::process::Command {
    let mut command = cargo(&["package", "--workspace", "--allow-dirty"]);
    for member in UNPUBLISHED {
        command.args(["--exclude", member]);
    }
    command
}
