//! The contract suite, against files in a folder of its own.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use locking_core::{LockingProvider, ProviderId, async_trait};
use locking_sqlite::{CAPABILITIES, IDENTIFIER, SqliteOptions, SqliteProvider};
use locking_testkit::Harness;
use tempfile::TempDir;

/// Names the folder: to the suite's processes, and to a suite that is to run on a certain disk.
const FOLDER: &str = "LOCKING_SQLITE_FOLDER";

/// A file for each space.
struct Files {
    path: PathBuf,
    /// Removed with the harness, unless it is that of the suite which started this process.
    _own: Option<TempDir>,
}

impl Files {
    fn new() -> Self {
        if let Some(path) = std::env::var_os(FOLDER) {
            return Self { path: path.into(), _own: None };
        }
        // In memory, where the system has such a folder: the pauses of a disk that others use, too, would be
        // taken for the provider's.
        let own = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let own = own.expect("a folder for the files");
        Self { path: own.path().to_owned(), _own: Some(own) }
    }

    fn file(&self, space: &str) -> PathBuf {
        self.path.join(space)
    }
}

#[async_trait]
impl Harness for Files {
    async fn connect(&self, space: &str) -> Arc<dyn LockingProvider> {
        let id = ProviderId::new(IDENTIFIER).expect("an id");
        let options = SqliteOptions::new(self.file(space));
        Arc::new(SqliteProvider::connect(id, options).await.expect("a file"))
    }

    async fn entries(&self, space: &str) -> Option<u64> {
        let connection = rusqlite::Connection::open(self.file(space)).expect("the file");
        let count =
            "SELECT (SELECT count(*) FROM locking_hold) + (SELECT count(*) FROM locking_state)";
        let count: i64 = connection.query_row(count, [], |row| row.get(0)).expect("a number");
        Some(count.unsigned_abs())
    }

    fn child_environment(&self) -> Vec<(String, String)> {
        vec![(FOLDER.to_owned(), self.path.display().to_string())]
    }
}

fn main() -> ExitCode {
    // Each client is a thread, and a case has several: at once, limits of time would be measured.
    locking_testkit::main_in_turn(CAPABILITIES, || async { Files::new() })
}
