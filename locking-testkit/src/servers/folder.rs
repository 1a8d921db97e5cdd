use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::account::Account;
use super::error::ServerError;
use super::kind::Kind;

/// Makes a folder, and removes it when the test is gone.
const LEASH: &str = include_str!("folder-leash.sh");

/// The folder that a server runs in. It is removed when this is dropped, and when its process is gone.
#[derive(Debug)]
pub(super) struct Folder {
    kind: &'static Kind,
    path: PathBuf,
    account: Option<Account>,
    leash: Child,
}

impl Folder {
    /// An empty one, for what is run by this account.
    pub(super) fn new(kind: &'static Kind, account: Option<Account>) -> Result<Self, ServerError> {
        let name = format!("locking-{}-XXXXXXXXXX", kind.name.to_lowercase());
        let unmade = |error| kind.failed("its folder", &error);
        let (path, leash) = leashed(&std::env::temp_dir(), &name).map_err(unmade)?;
        let folder = Self { kind, path, account, leash };
        give(folder.path(), account).map_err(unmade)?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file that nobody but its account can read.
    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<(), ServerError> {
        let path = self.path().join(name);
        let written = std::fs::write(&path, text).and_then(|()| {
            #[cfg(unix)]
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            give(&path, self.account)
        });
        written.map_err(|error| self.kind.failed(name, &error))
    }

    /// A command in this folder, as its account.
    pub(super) fn command(&self, program: &OsStr) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path());
        #[cfg(unix)]
        if let Some(account) = self.account {
            use std::os::unix::process::CommandExt;

            command.uid(account.user).gid(account.group);
        }
        command
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.leash.stdin.take());
        // A few milliseconds; then nothing is left of it.
        let _ = self.leash.wait();
    }
}

/// A new folder, named by a template of `mktemp`, and its leash.
fn leashed(parent: &Path, template: &str) -> io::Result<(PathBuf, Child)> {
    let mut command = Command::new("sh");
    command.args(["-c", LEASH, "leash"]).arg(parent.join(template));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // An interrupt from the keyboard is for the test; the leash cleans up after it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut leash = command.spawn()?;
    let mut name = String::new();
    if let Some(mut output) = leash.stdout.take() {
        output.read_to_string(&mut name)?;
    }
    if !name.is_empty() {
        return Ok((parent.join(name), leash));
    }
    let said = leash.wait_with_output()?;
    Err(io::Error::other(String::from_utf8_lossy(&said.stderr).trim().to_owned()))
}

#[cfg(unix)]
fn give(path: &Path, account: Option<Account>) -> io::Result<()> {
    let Some(Account { user, group }) = account else { return Ok(()) };
    std::os::unix::fs::chown(path, Some(user), Some(group))
}

#[cfg(not(unix))]
fn give(_path: &Path, _account: Option<Account>) -> io::Result<()> {
    Ok(())
}
