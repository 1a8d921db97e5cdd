use crate::command::{Result, answers, cargo};
use crate::steps::Steps;
use crate::test;

/// Members that are for this repository alone.
const UNPUBLISHED: [&str; 3] = ["bench", "quickstart", "xtask"];

/// Everything that a change has to pass. It changes no file; the cheap checks come first.
pub(crate) fn run(steps: &mut Steps) -> Result {
    steps.run("format", &mut cargo(&["fmt", "--all", "--", "--check"]))?;
    steps.run("lints", &mut clippy())?;
    dependencies(steps)?;
    test::run(steps)?;
    steps.run("documentation", &mut documentation())?;
    steps.run("packages", &mut packages())
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
    steps.run(name, &mut cargo(&["deny", "check", "licenses", "bans", "sources"]))
}

fn documentation() -> std::process::Command {
    let mut command = cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    command
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
