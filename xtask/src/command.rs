//! Commands in the repository's root.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What a task ends with; the error is for people.
pub(crate) type Result<T = ()> = std::result::Result<T, String>;

/// The Cargo that runs this task, with these arguments.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root());
    command
}

/// Runs a command to its end, with this program's output as its own.
pub(crate) fn run(command: &mut Command) -> Result {
    let status = command.status().map_err(|error| unstarted(command, &error))?;
    if status.success() { Ok(()) } else { Err(format!("`{}`: {status}", shown(command))) }
}

/// The same, while each line of its output is looked at, too. It is shown as it comes: the start of a line may
/// say what the command is at.
pub(crate) fn run_watched(command: &mut Command, mut look: impl FnMut(&str)) -> Result {
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| unstarted(command, &error))?;
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    let (mut line, mut own) = (Vec::new(), std::io::stdout());
    loop {
        let printed = match output.fill_buf() {
            Ok([]) => break,
            Ok(printed) => printed,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        // Nobody may read it any more: the command is run to its end.
        let _ = own.write_all(printed).and_then(|()| own.flush());
        for part in printed.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                look(String::from_utf8_lossy(&line).trim_end());
                line.clear();
            }
        }
        let count = printed.len();
        output.consume(count);
    }
    let status = child.wait().map_err(|error| format!("`{}`: {error}", shown(command)))?;
    if status.success() { Ok(()) } else { Err(format!("`{}`: {status}", shown(command))) }
}

/// Runs a command to its end, and gives what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| unstarted(command, &error))?;
    if !output.status.success() {
        return Err(format!("`{}`: {}", shown(command), output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("`{}`: {error}", shown(command)))
}

/// Whether a command is there and answers with success; what it prints isn't shown.
pub(crate) fn answers(command: &mut Command) -> bool {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// The same, unless it takes too long: then it is killed, and that is no success.
pub(crate) fn answers_within(limit: Duration, command: &mut Command) -> bool {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = child else { return false };
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if began.elapsed() < limit => sleep(Duration::from_millis(50)),
            _ => {
                // It ended just now, or it can't be reached: either way nothing is to be had of it.
                let _ = child.kill().and_then(|()| child.wait());
                return false;
            }
        }
    }
}

/// A command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn unstarted(command: &Command, error: &std::io::Error) -> String {
    format!("`{}` can't be started: {error}", shown(command))
}

/// The repository's root, wherever the task was called.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Where Cargo and these tasks put what they make.
pub(crate) fn target() -> PathBuf {
    root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| OsString::from("target")))
}
