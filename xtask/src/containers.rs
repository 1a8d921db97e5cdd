use crate::command::{Result, cargo};
use crate::images::IMAGES;
use crate::source::Source;
use crate::steps::Steps;

/// The tests that are run against servers in containers too, by the names of their targets: those of the
/// testkit's servers, and the contract suites of providers that have one.
const SUITES: [&str; 3] = ["redis", "postgres", "contract"];

/// The provider whose contract suite needs no server.
const LEFT_OUT: &str = "locking-memory";

/// Runs the suites once against servers in containers; elsewhere they may have run against
/// processes.
pub(crate) fn run(steps: &mut Steps) -> Result {
    let containers = Source::containers(&IMAGES)?;
    for suite in SUITES {
        // The whole workspace, as where they ran before: for a package alone all would be built anew.
        let mut command = cargo(&["test", "--workspace", "--exclude", LEFT_OUT]);
        command.args(["--all-features", "--test", suite]).envs(containers.variables());
        steps.test(&format!("{suite} in containers"), &mut command)?;
    }
    Ok(())
}
