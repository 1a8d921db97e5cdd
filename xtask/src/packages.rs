//! What the tests need of the system, and where it comes from.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{self, Result, answers};
use crate::rule::Rule;

/// Keeps the services of packages from being started.
const NO_SERVICE: Rule =
    Rule { path: "/usr/sbin/policy-rc.d", text: "#!/bin/sh\nexit 101\n", mode: 0o755 };

/// Keeps PostgreSQL's package from making databases of the system's own, with a port and a place in the
/// list of what is started: tests make theirs.
const NO_CLUSTER: Rule = Rule {
    path: "/etc/postgresql-common/createcluster.d/locking-tests.conf",
    text: "create_main_cluster = false\n",
    mode: 0o644,
};

/// Where Debian and Ubuntu keep programs that are in nobody's `PATH`: those of each version of
/// PostgreSQL.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The programs of servers under test.
pub(crate) const REDIS: Package = Package { program: "redis-server", name: "redis-server" };
/// The server itself lies beside the program that makes its data.
pub(crate) const POSTGRES: Package = Package { program: "initdb", name: "postgresql" };
pub(crate) const PGBOUNCER: Package = Package { program: "pgbouncer", name: "pgbouncer" };

/// With a library that gives processes a wrong wall clock.
pub(crate) const FAKETIME: Package = Package { program: "faketime", name: "faketime" };

/// A program, and the package of Debian and Ubuntu that has it.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) program: &'static str,
    pub(crate) name: &'static str,
}

impl Package {
    /// Whether the program can be started.
    pub(crate) fn is_there(&self) -> bool {
        let versions = Path::new(VERSIONS).read_dir().into_iter().flatten().flatten();
        let versions = versions.map(|version| version.path().join("bin").join(self.program));
        // Those of administrators aren't in everybody's either.
        let usual = Path::new("/usr/sbin").join(self.program);
        let mut programs = [self.program.into(), usual].into_iter().chain(versions);
        programs.any(|program: PathBuf| answers(Command::new(program).arg("--version")))
    }

    /// Installs it where it is missing; the error says what to install where this may not.
    pub(crate) fn ensure(&self) -> Result {
        [NO_SERVICE, NO_CLUSTER].iter().for_each(Rule::remove_left);
        if self.is_there() {
            return Ok(());
        }
        if !can_install() {
            return Err(format!(
                "`{}` is missing, and only root on Debian or Ubuntu installs it from here: install it \
                 (Debian, Ubuntu: apt-get install {})",
                self.program, self.name
            ));
        }
        eprintln!("\n=== installing {}", self.name);
        let _rules = [NO_SERVICE.set()?, NO_CLUSTER.set()?];
        if self.install().is_err() {
            // On a fresh machine the lists of packages are missing or old.
            command::run(&mut apt(&["update", "--quiet", "--quiet"]))?;
            self.install()?;
        }
        Ok(())
    }

    fn install(&self) -> Result {
        let options =
            ["install", "--yes", "--quiet", "--quiet", "--no-install-recommends", self.name];
        command::run(&mut apt(&options))
    }
}

/// Whether packages can be installed from here.
pub(crate) fn can_install() -> bool {
    let user = command::output(Command::new("id").arg("-u"));
    user.is_ok_and(|user| user.trim() == "0") && answers(Command::new("apt-get").arg("--version"))
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    // A new machine may be at it itself, and a mirror may fail once.
    command.args(["-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=3"]);
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command
}
