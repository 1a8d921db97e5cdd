use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::command::Result;

/// A script that puts things in order when the pipe at its standard input is closed: when this is dropped, and
/// when the task is gone, however it ended.
#[derive(Debug)]
pub(crate) struct Leash(Child);

impl Leash {
    pub(crate) fn start(
        script: &str,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", script, "leash"]).args(arguments).stdin(Stdio::piped());
        // An interrupt from the keyboard is for the task.
        command.process_group(0);
        command.spawn().map(Self).map_err(|error| format!("sh: {error}"))
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // A few seconds at the most; it was told to end.
        let _ = self.0.wait();
    }
}
