use crate::command::{Result, cargo};
use crate::steps::Steps;

/// The feature sets of the facade. Each is built alone: in a build of the whole workspace one
/// member's features are every member's.
const FEATURE_SETS: [&[&str]; 4] = [
    &[],
    &["--no-default-features"],
    &["--no-default-features", "--features", "memory"],
    &["--no-default-features", "--features", "redis"],
];

/// Sets up what the tests need, and runs all of them.
pub(crate) fn run(steps: &mut Steps) -> Result {
    set_up();
    // Doctests run with them; a crate's contract suite is a test without a harness of Rust's.
    steps.run("tests", &mut cargo(&["test", "--workspace", "--all-features"]))?;
    for features in FEATURE_SETS {
        let name = match features {
            [] => "facade, default features".to_owned(),
            features => format!("facade, {}", features.join(" ")),
        };
        steps.run(&name, cargo(&["test", "--package", "locking"]).args(features))?;
    }
    Ok(())
}

/// Where servers are started for the providers that need one. So far there is no such provider: the
/// toolchain is enough.
fn set_up() {}
