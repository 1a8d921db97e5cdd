use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::account::Account;
use super::error::ServerError;
use super::kind::Kind;

/// Removes its folder when the test is gone.
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
        let prefix = format!("locking-{}-", kind.name.to_lowercase());
        let unmade = |error| kind.failed("its folder", &error);
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let made = builder.prefix(&prefix).tempdir().map_err(unmade)?;
        let leash = leash(made.path()).map_err(unmade)?;
        let folder = Self { kind, path: made.keep(), account, leash };
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

fn leash(folder: &Path) -> io::Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", LEASH, "leash"]).arg(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // An interrupt from the keyboard is for the test; the leash cleans up after it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn()
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
