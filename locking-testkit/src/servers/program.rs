use std::path::PathBuf;

/// Where an installed program is: in `PATH`, or where systems keep the programs of administrators,
/// which are not in everybody's.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut folders = std::env::split_paths(&path).chain(usual);
    folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()))
}
