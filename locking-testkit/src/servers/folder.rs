use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::account::Account;
use super::error::ServerError;
use super::kind::Kind;

/// The folder that a server runs in. It is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    kind: &'static Kind,
    folder: TempDir,
    account: Option<Account>,
}

impl Folder {
    /// An empty one, for what is run by this account.
    pub(super) fn new(kind: &'static Kind, account: Option<Account>) -> Result<Self, ServerError> {
        let prefix = format!("locking-{}-", kind.name.to_lowercase());
        let unmade = |error| kind.failed("its folder", &error);
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let folder = builder.prefix(&prefix).tempdir().map_err(unmade)?;
        give(folder.path(), account).map_err(unmade)?;
        Ok(Self { kind, folder, account })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
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

#[cfg(unix)]
fn give(path: &Path, account: Option<Account>) -> io::Result<()> {
    let Some(Account { user, group }) = account else { return Ok(()) };
    std::os::unix::fs::chown(path, Some(user), Some(group))
}

#[cfg(not(unix))]
fn give(_path: &Path, _account: Option<Account>) -> io::Result<()> {
    Ok(())
}
