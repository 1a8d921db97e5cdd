use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use crate::command::{Result, answers, target};
use crate::leash::Leash;
use crate::packages::{self, Package};

/// Docker's command line, and with it the engine.
const DOCKER: Package = Package { program: "docker", name: "docker.io" };
const ENGINE: Package = Package { program: "dockerd", name: "docker.io" };

/// Removes containers with the task, and ends the engine that was started here.
const SCRIPT: &str = include_str!("engine.sh");

/// How long the engine may take to be there.
const START: Duration = Duration::from_secs(60);

/// On every container of the testkit.
const LABEL: &str = "io.github.locking-rs.testkit";

/// The variable by which the testkit is told the label's value.
const RUN: &str = "LOCKING_TEST_RUN";

/// Docker's engine. When this is dropped, containers that tests of this task left behind are removed, of which
/// there should be none, and one that was started here ends.
#[derive(Debug)]
pub(crate) struct Engine {
    run: String,
    _leash: Leash,
}

impl Engine {
    /// The engine that runs, else one that is installed where it is missing, and started.
    pub(crate) fn ensure() -> Result<Self> {
        DOCKER.ensure()?;
        if is_running() {
            return Self::leashed(None);
        }
        if !packages::can_install() {
            return Err("Docker's engine doesn't run, and only root starts it from here".to_owned());
        }
        ENGINE.ensure()?;
        Self::start()
    }

    fn start() -> Result<Self> {
        let log = target().join("dockerd.log");
        fs::create_dir_all(target()).map_err(|error| format!("{}: {error}", target().display()))?;
        eprintln!("\n=== starting Docker's engine; its log is {}", log.display());
        let (engine, began) = (Self::leashed(Some(&log))?, Instant::now());
        while !is_running() {
            if began.elapsed() > START {
                let log = fs::read_to_string(&log).unwrap_or_default();
                let lines: Vec<_> = log.lines().collect();
                let last = lines[lines.len().saturating_sub(10)..].join("\n");
                return Err(format!("Docker's engine didn't start within {START:?}\n{last}"));
            }
            sleep(Duration::from_millis(200));
        }
        Ok(engine)
    }

    /// One that runs, or is started and writes this log.
    fn leashed(log: Option<&Path>) -> Result<Self> {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let run = format!("{}-{}", std::process::id(), now.as_millis());
        let label = format!("{LABEL}={run}");
        let arguments = [Path::new(&label)].into_iter().chain(log);
        Ok(Self { _leash: Leash::start(SCRIPT, arguments)?, run })
    }

    /// What the testkit has to be told, so that its containers are known as this task's.
    pub(crate) fn variable(&self) -> (&'static str, String) {
        (RUN, self.run.clone())
    }
}

/// Whether an engine answers.
pub(crate) fn is_running() -> bool {
    answers(Command::new("docker").arg("info"))
}
