use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::CallFuture;
use crate::error::{Error, Result};
use crate::with_causes::WithCauses;

/// A call that failed before it began.
pub(super) fn failed<'a, T: Send + 'a>(error: Error) -> CallFuture<'a, T> {
    Box::pin(std::future::ready(Err(error)))
}

/// The same, told of by an event: most have no span, because what they are about isn't known.
pub(super) fn refused<'a, T: Send + 'a>(operation: &str, error: Error) -> CallFuture<'a, T> {
    tell_refused(operation, &error);
    failed(error)
}

/// Tells of a call that failed before it began.
#[cold]
pub(super) fn tell_refused(operation: &str, error: &Error) {
    tracing::debug!(operation, outcome = error.outcome(), error = %WithCauses::of(error), "refused");
}

/// A call under its span; where nobody listens, the call itself.
pub(super) fn traced<'a, T: Send + 'a>(span: Span, call: CallFuture<'a, T>) -> CallFuture<'a, T> {
    traced_as(span, call, outcome)
}

/// The same, with the word for what came of it.
pub(super) fn traced_as<'a, T: Send + 'a>(
    span: Span,
    call: CallFuture<'a, T>,
    outcome: fn(&Result<T>) -> &'static str,
) -> CallFuture<'a, T> {
    if span.is_disabled() {
        return call;
    }
    let told = span.clone();
    let call = async move {
        let asked = Instant::now();
        let result = call.await;
        tell(&told, asked, outcome(&result));
        result
    };
    Box::pin(call.instrument(span))
}

/// Tells a span, in which this is called, what came of a call.
pub(super) fn tell(span: &Span, asked: Instant, outcome: &str) {
    span.record("outcome", outcome);
    tracing::debug!(outcome, took = ?asked.elapsed(), "answered");
}

fn outcome<T>(result: &Result<T>) -> &'static str {
    result.as_ref().map_or_else(Error::outcome, |_| "done")
}

/// That of a release.
pub(super) fn outcome_of_release(result: &Result<bool>) -> &'static str {
    result.as_ref().map_or_else(Error::outcome, |held| if *held { "done" } else { "not held" })
}
