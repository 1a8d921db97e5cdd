use std::path::PathBuf;

/// Where an installed program is.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let mut files = folders().into_iter().map(|folder| folder.join(name));
    files.find(|file| file.is_file())
}

/// Where installed programs are: in `PATH`, or where systems keep the programs of administrators,
/// which are not in everybody's.
pub(super) fn folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).collect()
}
