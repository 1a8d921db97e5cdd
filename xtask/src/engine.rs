use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::command::{self, Result, answers, target};
use crate::packages::{self, Package};

/// Docker's command line, and with it the engine.
const DOCKER: Package = Package { program: "docker", name: "docker.io" };
const ENGINE: Package = Package { program: "dockerd", name: "docker.io" };

/// Ends the engine with the task.
const SCRIPT: &str = include_str!("engine.sh");

/// How long the engine may take to be there.
const START: Duration = Duration::from_secs(60);

/// On every container of the testkit.
const LABEL: &str = "io.github.locking-rs.testkit";

/// Docker's engine. One that was started here ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Engine {
    own: Option<Child>,
}

impl Engine {
    /// The engine that runs, else one that is installed where it is missing, and started.
    pub(crate) fn ensure() -> Result<Self> {
        DOCKER.ensure()?;
        if is_running() {
            return Ok(Self { own: None });
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
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "engine"]).arg(&log).stdin(Stdio::piped());
        let own = command.spawn().map_err(|error| format!("sh: {error}"))?;
        let (engine, began) = (Self { own: Some(own) }, Instant::now());
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

    /// Removes the containers that tests left behind, of which there should be none.
    pub(crate) fn clean(&self) -> Result {
        let label = format!("label={LABEL}");
        let left = Command::new("docker")
            .args(["ps", "--all", "--quiet", "--filter", &label])
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("docker: {error}"))?;
        let left = String::from_utf8_lossy(&left.stdout).into_owned();
        if left.trim().is_empty() {
            return Ok(());
        }
        eprintln!("removing containers that were left behind: {}", left.replace('\n', " "));
        let mut remove = Command::new("docker");
        command::run(remove.args(["rm", "--force", "--volumes"]).args(left.split_whitespace()))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(mut own) = self.own.take() {
            drop(own.stdin.take());
            // A few seconds at the most; it was told to end.
            let _ = own.wait();
        }
    }
}

/// Whether an engine answers.
pub(crate) fn is_running() -> bool {
    answers(Command::new("docker").arg("info"))
}
