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
        tell(&told, asked, &result);
        result
    };
    Box::pin(call.instrument(span))
}

/// Tells a span, in which this is called, what came of a call.
pub(super) fn tell<T>(span: &Span, asked: Instant, result: &Result<T>) {
    let outcome = outcome(result);
    span.record("outcome", outcome);
    tracing::debug!(outcome, took = ?asked.elapsed(), "answered");
}

fn outcome<T>(result: &Result<T>) -> &'static str {
    result.as_ref().map_or_else(Error::outcome, |_| "done")
}
