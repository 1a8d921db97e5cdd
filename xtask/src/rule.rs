use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::command::Result;

/// A file by which a system is told how to install packages. A system that has such a file already
/// keeps its own.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) path: &'static str,
    pub(crate) text: &'static str,
    pub(crate) mode: u32,
}

impl Rule {
    /// Lets it hold until what this answers is dropped.
    pub(crate) fn set(&self) -> Result<Set> {
        let mut set = Set::default();
        let path = Path::new(self.path);
        if path.exists() {
            return Ok(set);
        }
        let unwritten = |error| format!("{}: {error}", self.path);
        let folders: Vec<_> = path.ancestors().skip(1).take_while(|path| !path.exists()).collect();
        for folder in folders.into_iter().rev() {
            fs::create_dir(folder).map_err(unwritten)?;
            set.folders.push(folder.to_owned());
        }
        set.file = Some(path.to_owned());
        fs::write(path, self.text).map_err(unwritten)?;
        fs::set_permissions(path, fs::Permissions::from_mode(self.mode)).map_err(unwritten)?;
        Ok(set)
    }
}

/// A rule that holds. Dropped, it leaves the system as it was.
#[derive(Debug, Default)]
pub(crate) struct Set {
    file: Option<PathBuf>,
    /// The outermost first.
    folders: Vec<PathBuf>,
}

impl Drop for Set {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // It was written a moment ago; whoever removed it meanwhile meant the same.
            let _ = fs::remove_file(file);
        }
        for folder in self.folders.iter().rev() {
            // Those that a package uses by now aren't empty, and stay.
            let _ = fs::remove_dir(folder);
        }
    }
}
