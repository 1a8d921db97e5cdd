use std::process::Command;
use std::time::Duration;

use crate::command::{self, Result, answers, answers_within, root, target};
use crate::engine::Engine;
use crate::packages::{POSTGRES, Package, REDIS};

/// Registries that can't be reached mostly say so at once, but not all of them.
const PULL: Duration = Duration::from_secs(120);

/// An image that servers under test run in.
#[derive(Debug)]
pub(crate) struct Image {
    /// The official one.
    official: &'static str,
    /// One that is made here, from Debian's package, where that can't be had.
    own: &'static str,
    /// The folder of its scripts, in `images/`.
    folder: &'static str,
    package: Package,
    /// The variable by which the testkit is told.
    variable: &'static str,
}

pub(crate) const REDIS_IMAGE: Image = Image {
    official: "redis:7",
    own: "locking-test/redis:7",
    folder: "redis",
    package: REDIS,
    variable: "LOCKING_TEST_REDIS_IMAGE",
};

pub(crate) const POSTGRES_IMAGE: Image = Image {
    official: "postgres:16",
    // Whichever version Debian has.
    own: "locking-test/postgres:debian",
    folder: "postgres",
    package: POSTGRES,
    variable: "LOCKING_TEST_POSTGRES_IMAGE",
};

/// All of them.
pub(crate) const IMAGES: [Image; 2] = [REDIS_IMAGE, POSTGRES_IMAGE];

/// Makes or pulls all images, and says how tests find them.
pub(crate) fn run() -> Result {
    let _engine = Engine::ensure()?;
    for image in &IMAGES {
        let (variable, name) = image.ensure()?;
        println!("{variable}={name}");
    }
    Ok(())
}

impl Image {
    /// The variable of the testkit, and the image's name for it: the official one where it is there
    /// or a registry has it, else our own.
    pub(crate) fn ensure(&self) -> Result<(&'static str, &'static str)> {
        if is_local(self.official) {
            return Ok((self.variable, self.official));
        }
        if is_local(self.own) {
            return Ok((self.variable, self.own));
        }
        if answers_within(PULL, Command::new("docker").args(["pull", self.official])) {
            return Ok((self.variable, self.official));
        }
        eprintln!("`{}` can't be pulled: making `{}`", self.official, self.own);
        self.package.ensure()?;
        let script = root().join("xtask/images").join(self.folder).join("build.sh");
        let work = target().join("images").join(self.folder);
        command::run(Command::new("sh").arg(script).arg(work).arg(self.own))?;
        Ok((self.variable, self.own))
    }
}

fn is_local(image: &str) -> bool {
    answers(Command::new("docker").args(["image", "inspect", image]))
}
