//! What the tests need of the system, and where it comes from.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{self, Result, answers};

/// Keeps the services of packages from being started while these are installed. A system that has
/// such a rule already keeps its own.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Where Debian and Ubuntu keep programs that are in nobody's `PATH`: those of each version of
/// PostgreSQL.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The programs of servers under test.
pub(crate) const REDIS: Package = Package { program: "redis-server", name: "redis-server" };
pub(crate) const POSTGRES: Package = Package { program: "postgres", name: "postgresql" };
pub(crate) const PGBOUNCER: Package = Package { program: "pgbouncer", name: "pgbouncer" };

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
        let _policy = Policy::new()?;
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
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// The rule that no service is started, as long as this is there.
struct Policy {
    is_ours: bool,
}

impl Policy {
    fn new() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;

        if Path::new(POLICY).exists() {
            return Ok(Self { is_ours: false });
        }
        let unwritten = |error| format!("{POLICY}: {error}");
        std::fs::write(POLICY, "#!/bin/sh\nexit 101\n").map_err(unwritten)?;
        let policy = Self { is_ours: true };
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(POLICY, executable).map_err(unwritten)?;
        Ok(policy)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.is_ours {
            // It was written a moment ago; whoever removed it meanwhile meant the same.
            let _ = std::fs::remove_file(POLICY);
        }
    }
}
