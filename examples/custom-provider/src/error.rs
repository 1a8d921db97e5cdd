use locking_core::{ConfigurationError, Error, ProviderId};
use rusqlite::{Error as DriverError, ErrorCode};

/// Why an operation wasn't carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// SQLite refused, and rolled back what was begun.
    #[error("SQLite refused")]
    Driver(#[from] DriverError),
    /// The disk failed in the middle of a commit.
    #[error("the commit couldn't be written")]
    Commit(#[source] DriverError),
    /// The file is none of ours, or none that this build can use.
    #[error("the file {0}")]
    Unusable(String),
    /// The path leads to another file than the one that was opened, or the file isn't what it was then.
    #[error("the file was replaced meanwhile")]
    Replaced,
    #[error("the system doesn't tell the id of its boot")]
    NoBoot(#[source] std::io::Error),
    #[error("no thread could be started for the file")]
    NoThread(#[source] std::io::Error),
    #[error("the operation panicked")]
    Panicked,
}

impl Failure {
    /// Of a commit that can't be written all of it may have reached the disk: then it counts as soon as somebody
    /// reads the log anew.
    pub(crate) fn of_commit(error: DriverError) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::SystemIoFailure) => Self::Commit(error),
            _ => Self::Driver(error),
        }
    }

    /// What a failure means for a caller: the one place that knows.
    ///
    /// SQLite rolls back a transaction that failed, also one whose `COMMIT` was refused: nothing of it lasts.
    /// Nobody knows after a panic, or where the disk failed while a commit was written.
    pub(crate) fn into_error(self, provider: &ProviderId) -> Error {
        match (&self, self.code()) {
            (Self::Unusable(_), _) => option(self.to_string()),
            (Self::Panicked | Self::Commit(_), _) => Error::unknown_outcome(provider, self),
            (Self::Driver(error), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)) => {
                option(format!("the file is damaged, or isn't SQLite's: {error}"))
            }
            (_, Some(ErrorCode::DiskFull)) => Error::capacity_exceeded(provider, self),
            _ => Error::unavailable(provider, self),
        }
    }

    /// The same when a client connects: a file that can't be opened is a mistake in the options then.
    pub(crate) fn into_error_of_connecting(self, provider: &ProviderId) -> Error {
        match (&self, self.code()) {
            (
                Self::Driver(error),
                Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly),
            ) => option(format!("the file can't be opened for writing: {error}")),
            _ => self.into_error(provider),
        }
    }

    /// Whether the same may work in a moment.
    pub(crate) fn is_passing(&self) -> bool {
        self.is_busy() || matches!(self, Self::Replaced)
    }

    /// Whether the connection is as good as before.
    pub(crate) fn spares_the_connection(&self) -> bool {
        self.is_busy() || self.code() == Some(ErrorCode::DiskFull)
    }

    /// Whether somebody else is at the file.
    fn is_busy(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }

    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Driver(error) => error.sqlite_error_code(),
            _ => None,
        }
    }
}

fn option(problem: String) -> Error {
    ConfigurationError::option("path", problem).into()
}
