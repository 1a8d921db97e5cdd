use std::sync::Arc;

use deadpool_postgres::{PoolError, TimeoutType};
use locking_core::{Error, ProviderId};
use tokio_postgres::Error as DriverError;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::pooler;

/// Why an operation has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It wasn't carried out.
    #[error(transparent)]
    Refused(Arc<Cause>),
    /// It may have been carried out.
    #[error(transparent)]
    Unknown(Arc<Cause>),
    /// The server has no memory or no disk left.
    #[error(transparent)]
    Full(Arc<Cause>),
}

/// What the driver, or the server, said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error("no connection to the PostgreSQL server")]
    NotConnected(#[source] DriverError),
    #[error("the PostgreSQL server didn't answer in time")]
    Late,
    #[error("no connection of the pool was free in time")]
    Busy,
    #[error("the connection was closed")]
    Closed,
    #[error("the PostgreSQL server answered `{}: {}` ({})", .0.severity(), .0.message(), .0.code().code())]
    Answered(#[source] Box<DbError>),
    #[error("the connections to the PostgreSQL server are shared between transactions")]
    Shared,
    #[error("unexpected answer of the PostgreSQL server")]
    Unexpected,
    #[error(transparent)]
    Driver(DriverError),
}

impl Failure {
    /// No connection could be opened: nothing was asked of the server.
    pub(crate) fn not_connected(error: DriverError) -> Self {
        Self::Refused(Arc::new(match error.as_db_error() {
            Some(_) => Cause::of(error),
            None => Cause::NotConnected(error),
        }))
    }

    /// Nothing was sent: there was no connection in time.
    pub(crate) fn not_connected_in_time() -> Self {
        Self::Refused(Arc::new(Cause::Late))
    }

    /// Nothing is changed by what was asked for, and there is no answer in time.
    pub(crate) fn unanswered() -> Self {
        Self::late().unchanged()
    }

    /// The same for what changes nothing, whether it was carried out or not.
    pub(crate) fn unchanged(self) -> Self {
        match self {
            Self::Unknown(cause) => Self::Refused(cause),
            known => known,
        }
    }

    /// Nothing was sent: the connection is closed.
    pub(crate) fn closed() -> Self {
        Self::Refused(Arc::new(Cause::Closed))
    }

    /// A pooler gives each transaction another backend: what one of them sets up isn't there for the next.
    pub(crate) fn shared() -> Self {
        Self::Refused(Arc::new(Cause::Shared))
    }

    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.cause(), Cause::Shared)
    }

    /// Whoever was to answer is gone: it may have been sent.
    pub(crate) fn cut_off() -> Self {
        Self::Unknown(Arc::new(Cause::Closed))
    }

    /// It was sent, and there is no answer in time.
    pub(crate) fn late() -> Self {
        Self::Unknown(Arc::new(Cause::Late))
    }

    /// An answer that isn't one of the function's: whatever it did, it may have been done.
    pub(crate) fn unexpected() -> Self {
        Self::Unknown(Arc::new(Cause::Unexpected))
    }

    /// What the server answered, if it was an error.
    pub(crate) fn code(&self) -> Option<&SqlState> {
        match self.cause() {
            Cause::Answered(said) => Some(said.code()),
            _ => None,
        }
    }

    /// Whether another connection may do what this one can't: it has lost what was prepared on it, has the
    /// functions as they were before a migration, or was left in a transaction that failed.
    pub(crate) fn is_of_the_session(&self) -> bool {
        let of_session = [
            SqlState::INVALID_SQL_STATEMENT_NAME,
            SqlState::FEATURE_NOT_SUPPORTED,
            SqlState::IN_FAILED_SQL_TRANSACTION,
        ];
        self.code().is_some_and(|code| of_session.contains(code))
    }

    /// Whether a pooler says that nobody may begin a transaction over it. It carries nothing out then, though it ends
    /// the connection with it.
    pub(crate) fn is_of_statements(&self) -> bool {
        self.cause().is_of_statements()
    }

    fn cause(&self) -> &Cause {
        let (Self::Refused(cause) | Self::Unknown(cause) | Self::Full(cause)) = self;
        cause
    }

    pub(crate) fn into_error(self, provider: &ProviderId) -> Error {
        match self {
            _ if self.is_of_statements() => pooler::advice_on_statements().into(),
            Self::Refused(cause) if cause.is_of_a_pooler() => pooler::advice().into(),
            Self::Refused(cause) => Error::unavailable(provider, cause),
            Self::Unknown(cause) => Error::unknown_outcome(provider, cause),
            Self::Full(cause) => Error::capacity_exceeded(provider, cause),
        }
    }
}

/// An error of the driver for a statement that was handed to it while connected. A statement is one
/// transaction.
impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        let outcome = match error.as_db_error() {
            Some(said) if is_rolled_back(said) && is_full(said.code()) => Self::Full,
            Some(said) if is_rolled_back(said) => Self::Refused,
            // Timed out, cut off, ended by the server: nobody knows.
            _ => Self::Unknown,
        };
        outcome(Arc::new(Cause::of(error)))
    }
}

/// There is no connection of the pool: nothing was sent.
impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        Self::Refused(Arc::new(match error {
            PoolError::Backend(error) => return Self::not_connected(error),
            PoolError::Timeout(TimeoutType::Wait) => Cause::Busy,
            PoolError::Timeout(_) => Cause::Late,
            _ => Cause::Closed,
        }))
    }
}

impl Cause {
    /// Also what PgBouncer says to a session that is set up at its start: it would be another client's next.
    fn is_of_a_pooler(&self) -> bool {
        match self {
            Self::Shared => true,
            Self::Answered(said) => said.message().starts_with("unsupported startup parameter"),
            _ => false,
        }
    }

    fn is_of_statements(&self) -> bool {
        matches!(self, Self::Answered(said) if said.message().contains("statement pooling mode"))
    }

    fn of(error: DriverError) -> Self {
        match error.as_db_error() {
            Some(said) => Self::Answered(Box::new(said.clone())),
            None => Self::Driver(error),
        }
    }
}

fn is_full(code: &SqlState) -> bool {
    code.code().starts_with("53") && *code != SqlState::TOO_MANY_CONNECTIONS
}

/// Whether the server undid what it answered with this error.
fn is_rolled_back(said: &DbError) -> bool {
    let code = said.code();
    if [SqlState::CANNOT_CONNECT_NOW, SqlState::TOO_MANY_CONNECTIONS].contains(code) {
        // The answer to whoever would be a client.
        return true;
    }
    // The end of a session, and what a pooler says of one, may come after the commit.
    let ended = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN].contains(code)
        || matches!(said.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
        // A pooler says it in English only.
        || said.severity() == "FATAL";
    let lost = *code == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN || code.code().starts_with("08");
    !ended && !lost
}
