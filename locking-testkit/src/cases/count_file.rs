use std::path::{Path, PathBuf};

use crate::fixture::Fixture;

/// A file with a number in it, which is gone with its case.
pub(super) struct CountFile(PathBuf);

impl CountFile {
    pub(super) fn new(f: &Fixture) -> Self {
        let name = f.key("count").replace('/', "-");
        let file = Self(std::env::temp_dir().join(name));
        std::fs::write(&file.0, "0").expect("a temporary file");
        file
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn read(&self) -> u64 {
        let text = std::fs::read_to_string(&self.0).expect("the file is there");
        text.trim().parse().expect("a number")
    }
}

impl Drop for CountFile {
    fn drop(&mut self) {
        // Left behind at the worst, among temporary files.
        let _ = std::fs::remove_file(&self.0);
    }
}
