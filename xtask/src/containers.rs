use crate::command::{Result, cargo, root};
use crate::engine::Engine;
use crate::images::{IMAGES, Image};
use crate::steps::Steps;

/// A test that runs against servers.
struct Suite {
    package: &'static str,
    test: &'static str,
    features: &'static [&'static str],
}

/// Those that are run against servers in containers too. A package that isn't there has none.
const SUITES: [Suite; 4] = [
    Suite { package: "locking-testkit", test: "redis", features: &["--features", "servers"] },
    Suite { package: "locking-testkit", test: "postgres", features: &["--features", "servers"] },
    Suite { package: "locking-redis", test: "contract", features: &[] },
    Suite { package: "locking-postgres", test: "contract", features: &[] },
];

/// Runs the suites once against servers in containers; elsewhere they may have run against
/// processes.
pub(crate) fn run(steps: &mut Steps) -> Result {
    let suites: Vec<_> = SUITES.iter().filter(|suite| suite.is_there()).collect();
    if suites.is_empty() {
        return Ok(());
    }
    let engine = Engine::ensure()?;
    let images = IMAGES.iter().map(Image::ensure).collect::<Result<Vec<_>>>()?;
    for suite in suites {
        let mut command = cargo(&["test", "--package", suite.package, "--test", suite.test]);
        command.args(suite.features);
        command.env("LOCKING_TEST_SERVERS", "container").envs(images.iter().copied());
        let name = format!("{} ({}) in containers", suite.package, suite.test);
        steps.run(&name, &mut command)?;
    }
    engine.clean()
}

impl Suite {
    fn is_there(&self) -> bool {
        root().join(self.package).join("Cargo.toml").is_file()
    }
}
