use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

use crate::error::Failure;

/// Which file a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// None if there is no file, or nobody can tell.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// Finds out whether all processes reach a file by one name. SQLite makes the names of its log and of what it
/// locks by, `-wal` and `-shm`, from the file's: who has another one would lock for itself alone.
///
/// Of two names it is enough that one is refused. A file that is mounted by itself is such at the mount, though
/// it has a plain name elsewhere. Before Linux 5.8 nobody can tell that.
pub(crate) fn check_name(path: &Path) -> Result<(), Failure> {
    let is_linked = std::fs::metadata(path).is_ok_and(|metadata| metadata.nlink() > 1);
    if is_linked {
        return Err(Failure::Unusable(
            "has another name, a hard link, which has `-wal` and `-shm` of its own: give it one name"
                .to_owned(),
        ));
    }
    let told = statx(CWD, path, AtFlags::empty(), StatxFlags::empty());
    if told.is_ok_and(|told| told.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)) {
        return Err(Failure::Unusable(
            "is mounted without `-wal` and `-shm`: its folder has to be mounted, not the file"
                .to_owned(),
        ));
    }
    Ok(())
}
