//! Commands in the repository's root.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

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
fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}
