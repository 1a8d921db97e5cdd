//! Data directories: making one takes a second, unpacking one that was made before a tenth of it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::programs::Programs;
use super::{KIND, POSTGRES};
use crate::servers::account::Account;
use crate::servers::error::ServerError;
use crate::servers::folder::Folder;

/// The data directory's name in a server's folder.
pub(super) const DATA: &str = "data";

/// That of the packed one.
const PACKED: &str = "data.tar";

/// Clients may connect without a password unless there is one.
const INITDB: [&str; 7] = [
    "--pgdata=data",
    "--username=postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C",
    "--no-sync",
    "--no-instructions",
];

/// Makes the data directory of a server in its folder: from the packed one that was kept, else anew.
pub(super) async fn make(programs: &Programs, folder: &Folder) -> Result<(), ServerError> {
    let kept = kept(programs, folder).await?;
    if is_ours(&kept, programs) {
        let unpacked = run(folder, "tar".as_ref(), ["-xf".as_ref(), kept.as_os_str()]).await;
        if unpacked.is_ok() {
            return Ok(());
        }
        // Somebody cleans up, or another tar was here: what is there of it is no use.
        let _ = std::fs::remove_dir_all(folder.path().join(DATA));
    }
    run(folder, programs.initdb.as_os_str(), INITDB).await?;
    // Without a packed one the next server takes longer, and that is all.
    if run(folder, "tar".as_ref(), ["-cf", PACKED, DATA]).await.is_ok() {
        // Whoever was faster made the same.
        let _ = std::fs::rename(folder.path().join(PACKED), kept);
    }
    Ok(())
}

/// Sets the password of the account `postgres`, before clients can connect.
pub(super) async fn protect(
    programs: &Programs,
    folder: &Folder,
    password: &str,
) -> Result<(), ServerError> {
    let rules = "local all all scram-sha-256\nhost all all all scram-sha-256\n";
    folder.write(&format!("{DATA}/pg_hba.conf"), rules)?;
    let mut command = folder.command(programs.postgres.as_os_str());
    command.args(["--single", "-F", "-j", "-D", DATA, POSTGRES]);
    let sql = format!("ALTER ROLE {POSTGRES} PASSWORD {};\n\n", super::handle::literal(password));
    finish(command.into(), &sql).await.map(drop)
}

/// Where the packed one of this version and account is kept.
async fn kept(programs: &Programs, folder: &Folder) -> Result<PathBuf, ServerError> {
    let version = run(folder, programs.postgres.as_os_str(), ["--version"]).await?;
    // `postgres (PostgreSQL) 16.4 (Debian 16.4-1)`
    let version = version.split_whitespace().nth(2).unwrap_or("unknown").replace('/', "-");
    let user = Account::runs_by(programs.account);
    Ok(std::env::temp_dir().join(format!("locking-postgres-{version}-{user}.tar")))
}

/// Whether it was made here: anybody can put a file into the folder for temporary files.
#[cfg(unix)]
fn is_ours(kept: &Path, programs: &Programs) -> bool {
    use std::os::unix::fs::MetadataExt;

    let user = Account::runs_by(programs.account);
    kept.symlink_metadata().is_ok_and(|file| file.is_file() && file.uid() == user)
}

#[cfg(not(unix))]
fn is_ours(_kept: &Path, _programs: &Programs) -> bool {
    false
}

/// Runs a program in the server's folder, as its account; what it printed.
async fn run(
    folder: &Folder,
    program: &OsStr,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<String, ServerError> {
    let mut command = folder.command(program);
    command.args(arguments);
    finish(command.into(), "").await
}

/// Runs a command to its end with this input; what it printed.
async fn finish(mut command: Command, input: &str) -> Result<String, ServerError> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let failed = |problem: &dyn std::fmt::Display| KIND.failed(&format!("`{program}`"), problem);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().map_err(|error| failed(&error))?;
    if let Some(mut pipe) = child.stdin.take() {
        // One that ended already says below why.
        let _ = pipe.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(|error| failed(&error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(&format!("{}\n{}", output.status, crate::servers::process::last_lines(&said))))
}
