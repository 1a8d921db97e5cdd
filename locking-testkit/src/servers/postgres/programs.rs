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
        let mut folders = program::folders().into_iter().chain(versions());
        let (initdb, postgres) = folders.find_map(|folder| together(&folder)).ok_or_else(|| {
            format!(
                "there is no `initdb` with a `postgres` beside it in PATH or below `{VERSIONS}`"
            )
        })?;
        Ok(Self { initdb, postgres, account: Account::unprivileged()? })
    }
}

/// Both programs of one version. In `PATH` there may be links to one of them.
fn together(folder: &Path) -> Option<(PathBuf, PathBuf)> {
    let initdb = folder.join("initdb").canonicalize().ok()?;
    let postgres = initdb.with_file_name("postgres");
    (initdb.is_file() && postgres.is_file()).then_some((initdb, postgres))
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
