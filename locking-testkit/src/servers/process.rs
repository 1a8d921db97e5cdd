use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::error::ServerError;
use crate::signal::{Signal, send};

/// Ends its server when the test is gone.
const LEASH: &str = include_str!("leash.sh");

/// How long a server may take to end when it is told to.
const END: Duration = Duration::from_secs(20);

/// A server as a process, in a folder of its own, on a leash.
#[derive(Debug)]
pub(super) struct ServerProcess {
    server: &'static str,
    program: PathBuf,
    arguments: Vec<OsString>,
    running: Mutex<Option<Running>>,
    // Behind the process: fields are dropped in their order.
    folder: TempDir,
}

/// Dropped, it ends the server.
#[derive(Debug)]
struct Running {
    // Looking whether it has ended changes it.
    leash: std::sync::Mutex<Child>,
    id: u32,
}

impl ServerProcess {
    /// A server that runs in `folder`; not started yet.
    pub(super) fn new(
        server: &'static str,
        program: PathBuf,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
        folder: TempDir,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { server, program, arguments, running: Mutex::new(None), folder }
    }

    /// Starts it where it doesn't run. It needs a moment more until it answers.
    pub(super) async fn start(&self) -> Result<(), ServerError> {
        let mut running = self.running.lock().await;
        if running.is_none() {
            *running = Some(self.spawn().map_err(|error| self.failed(&error.to_string()))?);
        }
        Ok(())
    }

    fn spawn(&self) -> std::io::Result<Running> {
        let mut command = Command::new("sh");
        command.args(["-c", LEASH, "leash"]).arg(self.folder.path());
        command.arg(&self.program).args(&self.arguments).current_dir(self.folder.path());
        // What the server says is in its log.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // An interrupt from the keyboard is for the test; the leash cleans up after it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut leash = command.spawn()?;
        let mut line = String::new();
        if let Some(output) = leash.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let id = line.trim().parse().map_err(std::io::Error::other)?;
        Ok(Running { leash: leash.into(), id })
    }

    /// Ends it by this signal, and returns when it has ended.
    pub(super) async fn end(&self, signal: Signal) -> Result<(), ServerError> {
        let mut running = self.running.lock().await;
        let Some(process) = running.as_ref() else { return Ok(()) };
        // One that ended by itself meanwhile is what was asked for.
        let _ = send(process.id, signal);
        let give_up = Instant::now() + END;
        while process.is_alive() {
            if Instant::now() > give_up {
                return Err(ServerError::TimedOut {
                    server: self.server,
                    what: "to end",
                    within: END,
                });
            }
            sleep(Duration::from_millis(2)).await;
        }
        *running = None;
        Ok(())
    }

    /// Sends a signal to it.
    pub(super) async fn signal(&self, signal: Signal) -> Result<(), ServerError> {
        match self.running.lock().await.as_ref() {
            Some(process) if process.is_alive() => {
                send(process.id, signal).map_err(|error| self.failed(&error.to_string()))
            }
            _ => Err(self.failed("it doesn't run")),
        }
    }

    /// An error if it ended by itself, with what it said last.
    pub(super) async fn check(&self) -> Result<(), ServerError> {
        match self.running.lock().await.as_ref() {
            Some(process) if process.is_alive() => Ok(()),
            _ => Err(self.failed(&format!("it ended\n{}", self.log()))),
        }
    }

    fn log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        last_lines(&String::from_utf8_lossy(&log))
    }

    fn failed(&self, problem: &str) -> ServerError {
        let problem = format!("`{}`: {problem}", self.program.display());
        ServerError::Failed { server: self.server, problem }
    }
}

impl Running {
    fn leash(&self) -> MutexGuard<'_, Child> {
        self.leash.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_alive(&self) -> bool {
        matches!(self.leash().try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut leash = self.leash();
        drop(leash.stdin.take());
        // The leash kills the server and ends: that takes about a millisecond, and the folder is
        // removed only then.
        let _ = leash.wait();
    }
}

/// As much of a log as an error can show.
pub(super) fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
