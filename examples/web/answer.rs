use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use locking::Error;
use tokio::task::JoinError;

/// Why an order wasn't paid, or may not have been.
pub(crate) enum Refusal {
    /// What the lock says.
    Lock(Error),
    Panicked,
}

impl Refusal {
    pub(crate) fn panicked(_: JoinError) -> Self {
        Self::Panicked
    }

    /// What the client should make of it, and after how many seconds the same request makes sense again.
    fn status(&self) -> (StatusCode, Option<u32>) {
        let Self::Lock(error) = self else {
            return (StatusCode::INTERNAL_SERVER_ERROR, None);
        };
        match error {
            // Somebody else is at it. Nothing was done.
            Error::Held { .. } | Error::TimedOut { .. } => (StatusCode::CONFLICT, Some(1)),
            // No lock is to be had at the moment. Nothing was done.
            Error::Unavailable { .. }
            | Error::CapacityExceeded { .. }
            | Error::UnknownOutcome { .. } => (StatusCode::SERVICE_UNAVAILABLE, Some(5)),
            // This process is about to end; another one will serve the request.
            Error::Closed { .. } => (StatusCode::SERVICE_UNAVAILABLE, Some(1)),
            // The order's name comes from the client.
            Error::InvalidInput(_) => (StatusCode::BAD_REQUEST, None),
            // The job was stopped half way, and somebody else may have begun theirs. Whether it was paid
            // is to be looked up; no client should just try again.
            Error::Lost { .. } => (StatusCode::INTERNAL_SERVER_ERROR, None),
            // Our mistake: a provider's name, a capability that it doesn't have.
            _ => (StatusCode::INTERNAL_SERVER_ERROR, None),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Lock(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, retry_after) = self.status();
        let text = match self {
            // Whether a server of ours is down, and why, is nobody's business out there.
            Self::Lock(error) if !status.is_server_error() => error.to_string(),
            _ => "not now".to_owned(),
        };
        match retry_after {
            Some(seconds) => (status, [(RETRY_AFTER, seconds.to_string())], text).into_response(),
            None => (status, text).into_response(),
        }
    }
}
