//! `libfaketime`, which gives a process a wall clock of its own.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where systems keep libraries: itself there, or in a folder for each architecture.
const FOLDERS: [&str; 4] = ["/usr/local/lib", "/usr/lib", "/usr/lib64", "/usr/local/lib64"];

/// The one for programs with several threads.
const NAME: &str = "faketime/libfaketimeMT.so.1";

/// The installed one that this program can load.
pub(crate) fn library() -> Option<PathBuf> {
    // Nothing can be loaded into a program that is linked statically.
    if cfg!(not(target_os = "linux")) || cfg!(target_feature = "crt-static") {
        return None;
    }
    let own = machine(&std::env::current_exe().ok()?)?;
    let mut candidates = FOLDERS.iter().flat_map(|folder| below(Path::new(folder)));
    candidates.find(|library| machine(library) == Some(own))
}

fn below(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let architectures = folder.read_dir().into_iter().flatten().flatten();
    let architectures = architectures.map(|architecture| architecture.path().join(NAME));
    std::iter::once(folder.join(NAME)).chain(architectures)
}

/// What a program or a library is made for, by its header: the class and order of its words, and the
/// machine. `None`: it isn't there, or is neither.
fn machine(file: &Path) -> Option<([u8; 2], [u8; 2])> {
    let mut header = [0; 20];
    File::open(file).ok()?.read_exact(&mut header).ok()?;
    header.starts_with(b"\x7fELF").then(|| ([header[4], header[5]], [header[18], header[19]]))
}
