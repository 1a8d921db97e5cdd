use crate::command::{Result, cargo};
use crate::engine::Engine;
use crate::images::{IMAGES, Image};
use crate::steps::Steps;

/// The tests that are run against servers in containers too, by the names of their targets: those of the
/// testkit's servers, and the contract suites of providers that have one.
const SUITES: [&str; 3] = ["redis", "postgres", "contract"];

/// Providers whose contract suites aren't run there: one needs no server; the other's has only been tried
/// against processes so far.
const LEFT_OUT: [&str; 2] = ["locking-memory", "locking-postgres"];

/// Runs the suites once against servers in containers; elsewhere they may have run against
/// processes.
pub(crate) fn run(steps: &mut Steps) -> Result {
    let engine = Engine::ensure()?;
    let images = IMAGES.iter().map(Image::ensure).collect::<Result<Vec<_>>>()?;
    for suite in SUITES {
        // The whole workspace, as where they ran before: for a package alone all would be built anew.
        let mut command = cargo(&["test", "--workspace"]);
        command.args(LEFT_OUT.iter().flat_map(|package| ["--exclude", package]));
        command.args(["--all-features", "--test", suite]);
        command.env("LOCKING_TEST_SERVERS", "container").envs(images.iter().copied());
        steps.run(&format!("{suite} in containers"), &mut command)?;
    }
    engine.clean()
}
