use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::error::ServerError;
use super::folder::Folder;
use super::kind::Kind;
use crate::signal::{Signal, send};

/// Ends its server when the test is gone.
const LEASH: &str = concat!(include_str!("family.sh"), include_str!("leash.sh"));

/// Tells a server and the processes that it started.
const TELL: &str = concat!(include_str!("family.sh"), "tell \"$1\" \"$2\"\n");

/// How long a server may take to end when it is told to.
const END: Duration = Duration::from_secs(20);

/// A server as a process, in a folder of its own, on a leash.
#[derive(Debug)]
pub(super) struct ServerProcess {
    kind: &'static Kind,
    program: PathBuf,
    arguments: Vec<OsString>,
    stop: Signal,
    drop: &'static str,
    running: Mutex<Option<Running>>,
    // Behind the process: fields are dropped in their order.
    folder: Folder,
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
        kind: &'static Kind,
        program: PathBuf,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
        folder: Folder,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        let (stop, drop) = (Signal::End, "KILL");
        Self { kind, program, arguments, stop, drop, running: Mutex::new(None), folder }
    }

    /// The same, but `stop` has it end, and at last it gets the signal of the name `drop`, by which
    /// it leaves nothing behind in the system.
    pub(super) fn ended_by(self, stop: Signal, drop: &'static str) -> Self {
        Self { stop, drop, ..self }
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
        let mut command = self.folder.command("sh".as_ref());
        command.args(["-c", LEASH, "leash"]).arg(self.folder.path()).arg(self.drop);
        command.arg(&self.program).args(&self.arguments);
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

    /// Has it end, and returns when it has ended.
    pub(super) async fn stop(&self) -> Result<(), ServerError> {
        self.end_by(self.stop).await
    }

    /// The same by another signal.
    pub(super) async fn end_by(&self, signal: Signal) -> Result<(), ServerError> {
        let mut running = self.running.lock().await;
        if let Some(process) = alive(running.as_ref()) {
            // One that ended by itself meanwhile is what was asked for.
            let _ = send(process.id, signal);
            self.until_ended(process).await?;
        }
        *running = None;
        Ok(())
    }

    /// Kills it with what it started, and returns when it is gone.
    pub(super) async fn kill(&self) -> Result<(), ServerError> {
        let mut running = self.running.lock().await;
        if let Some(process) = alive(running.as_ref()) {
            self.tell("KILL", process).await?;
            self.until_ended(process).await?;
        }
        *running = None;
        Ok(())
    }

    /// Stops all its processes.
    pub(super) async fn pause(&self) -> Result<(), ServerError> {
        self.tell_running("STOP").await
    }

    /// Has all its processes go on.
    pub(super) async fn resume(&self) -> Result<(), ServerError> {
        self.tell_running("CONT").await
    }

    async fn until_ended(&self, process: &Running) -> Result<(), ServerError> {
        let give_up = Instant::now() + END;
        while process.is_alive() {
            if Instant::now() > give_up {
                let (server, what) = (self.kind.name, "to end");
                return Err(ServerError::TimedOut { server, what, within: END });
            }
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    async fn tell_running(&self, signal: &str) -> Result<(), ServerError> {
        match alive(self.running.lock().await.as_ref()) {
            Some(process) => self.tell(signal, process).await,
            None => Err(self.failed("it doesn't run")),
        }
    }

    async fn tell(&self, signal: &str, process: &Running) -> Result<(), ServerError> {
        let mut command = Command::new("sh");
        command.args(["-c", TELL, "tell", signal, &process.id.to_string()]);
        // What ended by itself meanwhile can't be told anything.
        let told = command.stdin(Stdio::null()).status().await;
        told.map(drop).map_err(|error| self.failed(&format!("sh: {error}")))
    }

    /// An error if it ended by itself, with what it said last.
    pub(super) async fn check(&self) -> Result<(), ServerError> {
        match alive(self.running.lock().await.as_ref()) {
            Some(_) => Ok(()),
            None => Err(self.failed(&format!("it ended\n{}", self.log()))),
        }
    }

    fn log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        last_lines(&String::from_utf8_lossy(&log))
    }

    fn failed(&self, problem: &str) -> ServerError {
        let problem = format!("`{}`: {problem}", self.program.display());
        ServerError::Failed { server: self.kind.name, problem }
    }
}

/// One that may be told something: the number of one that has ended may be another's by now.
fn alive(running: Option<&Running>) -> Option<&Running> {
    running.filter(|process| process.is_alive())
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
