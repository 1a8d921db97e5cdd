use std::sync::Arc;

use fred::error::{Error as DriverError, ErrorKind};
use locking_core::{Error, ProviderId};

/// Why an operation has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It wasn't carried out.
    #[error(transparent)]
    Refused(Arc<Cause>),
    /// It may have been carried out.
    #[error(transparent)]
    Unknown(Arc<Cause>),
    /// The server has no memory left.
    #[error(transparent)]
    Full(Arc<Cause>),
}

/// What the driver, or the server, said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error("no connection to the Redis server")]
    NotConnected,
    #[error("the connection was closed")]
    Closed,
    #[error("the Redis server answered `{0}`")]
    Answered(String),
    #[error(
        "the Redis server doesn't let this client subscribe: its user needs the channels of the namespace"
    )]
    Unheard,
    #[error("unexpected answer of the Redis server")]
    Unexpected,
    #[error(transparent)]
    Driver(DriverError),
}

impl Failure {
    pub(crate) fn not_connected() -> Self {
        Self::Refused(Arc::new(Cause::NotConnected))
    }

    pub(crate) fn closed() -> Self {
        Self::Refused(Arc::new(Cause::Closed))
    }

    /// The server doesn't tell this client anything.
    pub(crate) fn unheard() -> Self {
        Self::Refused(Arc::new(Cause::Unheard))
    }

    /// Whoever was to answer is gone: it may have been sent.
    pub(crate) fn cut_off() -> Self {
        Self::Unknown(Arc::new(Cause::Closed))
    }

    /// An answer that isn't one of the script's: whatever it did, it may have been done.
    pub(crate) fn unexpected() -> Self {
        Self::Unknown(Arc::new(Cause::Unexpected))
    }

    /// What an error that the server answered says of the operation.
    pub(crate) fn answered(text: String) -> Self {
        let full = text.starts_with("OOM");
        let cause = Arc::new(Cause::Answered(text));
        if full { Self::Full(cause) } else { Self::Refused(cause) }
    }

    /// What an error that an operation of the script ended with says of it. What is refused before the first
    /// write has done nothing; another error, such as a right that is missing, may have come half way.
    pub(crate) fn within_the_script(text: String) -> Self {
        const BEFORE_THE_FIRST_WRITE: [&str; 4] = ["OOM", "READONLY", "MISCONF", "NOREPLICAS"];
        if BEFORE_THE_FIRST_WRITE.iter().any(|kind| text.starts_with(kind)) {
            Self::answered(text)
        } else {
            Self::Unknown(Arc::new(Cause::Answered(text)))
        }
    }

    /// Whether it was refused because the server is a replica.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self, Self::Refused(cause)
            if matches!(&**cause, Cause::Answered(text) if text.starts_with("READONLY")))
    }

    pub(crate) fn into_error(self, provider: &ProviderId) -> Error {
        match self {
            Self::Refused(cause) => Error::unavailable(provider, cause),
            Self::Unknown(cause) => Error::unknown_outcome(provider, cause),
            Self::Full(cause) => Error::capacity_exceeded(provider, cause),
        }
    }
}

/// An error of the driver for a command that was handed to it while connected.
impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        match error.kind() {
            // The driver's own: the connection was made anew while the command was under way.
            ErrorKind::Unknown if !is_of_the_server(error.details()) => {
                Self::Unknown(Arc::new(Cause::Driver(error)))
            }
            // What the server answers with an error, it hasn't carried out: the script catches its own.
            ErrorKind::Unknown
            | ErrorKind::InvalidCommand
            | ErrorKind::InvalidArgument
            | ErrorKind::Auth => Self::answered(error.details().to_owned()),
            ErrorKind::Config | ErrorKind::Url | ErrorKind::Routing | ErrorKind::Backpressure => {
                Self::Refused(Arc::new(Cause::Driver(error)))
            }
            // Timed out, cut off, cancelled: nobody knows.
            _ => Self::Unknown(Arc::new(Cause::Driver(error))),
        }
    }
}

/// Whether a text is an error as the server writes them: first its kind, in capitals.
fn is_of_the_server(text: &str) -> bool {
    let kind = text.split(' ').next().unwrap_or_default();
    !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_server_says_itself_is_known_not_to_be_carried_out() {
        let failure =
            |text: &'static str| Failure::from(DriverError::new(ErrorKind::Unknown, text));
        for text in ["ERR unknown command", "READONLY You can't write", "LOADING", "NOSCRIPT none"]
        {
            assert!(matches!(failure(text), Failure::Refused(_)), "{text}");
        }
        assert!(matches!(failure("OOM command not allowed"), Failure::Full(_)));
        for text in ["Too many failed write attempts.", "", "Err this isn't one"] {
            assert!(matches!(failure(text), Failure::Unknown(_)), "{text}");
        }
    }
}
