use std::path::{Path, PathBuf};

use crate::servers::account::Account;
use crate::servers::program;

/// Where Debian and its like keep the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// What servers are started from, and by whom.
pub(in crate::servers) struct Programs {
    pub(super) initdb: PathBuf,
    pub(super) postgres: PathBuf,
    pub(super) account: Option<Account>,
}

impl Programs {
    /// The installed ones, or what is missing.
    pub(super) fn find() -> Result<Self, String> {
        let initdb = program::find("initdb").or_else(|| program::find_in(versions(), "initdb"));
        let initdb =
            initdb.ok_or_else(|| format!("there is no `initdb` in PATH or below `{VERSIONS}`"))?;
        let folder = initdb.parent().map(Path::to_owned);
        let postgres = program::find_in(folder, "postgres")
            .ok_or_else(|| format!("there is no `postgres` beside `{}`", initdb.display()))?;
        Ok(Self { initdb, postgres, account: Account::unprivileged()? })
    }
}

/// The folders of all installed versions, the newest first.
fn versions() -> Vec<PathBuf> {
    let folders = Path::new(VERSIONS).read_dir().into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = folders
        .filter_map(|folder| {
            let version = folder.file_name().to_str()?.parse().ok()?;
            Some((version, folder.path().join("bin")))
        })
        .collect();
    versions.sort_by(|one, other| other.cmp(one));
    versions.into_iter().map(|(_, folder)| folder).collect()
}
