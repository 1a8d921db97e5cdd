use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::CallFuture;
use crate::error::{Error, Result};

/// A call that failed before it began.
pub(super) fn refused<'a, T: Send + 'a>(error: Error) -> CallFuture<'a, T> {
    Box::pin(std::future::ready(Err(error)))
}

/// A call under its span; where nobody listens, the call itself.
pub(super) fn traced<'a, T: Send + 'a>(span: Span, call: CallFuture<'a, T>) -> CallFuture<'a, T> {
    if span.is_disabled() {
        return call;
    }
    let told = span.clone();
    let call = async move {
        let asked = Instant::now();
        let result = call.await;
        let outcome = outcome(&result);
        told.record("outcome", outcome);
        tracing::debug!(outcome, took = ?asked.elapsed(), "answered");
        result
    };
    Box::pin(call.instrument(span))
}

fn outcome<T>(result: &Result<T>) -> &'static str {
    result.as_ref().map_or_else(Error::outcome, |_| "done")
}
