use std::time::Duration;

use super::call::{refused, traced};
use super::target::Target;
use super::{CallFuture, LockingModule};
use crate::error::Result;
use crate::invalid::InvalidInput;
use crate::lease::Lease;
use crate::time::Expiry;

/// A call of [`LockingModule::extend`]: all keys of the lease, or none.
///
/// # Errors
///
/// - [`Error::Lost`](crate::Error::Lost) if a key of the lease is no longer held by it; nothing
///   changed.
/// - [`Error::InvalidInput`](crate::Error::InvalidInput) before any I/O, for the remaining time, or a lease on
///   no keys.
/// - [`Error::Unavailable`](crate::Error::Unavailable) or
///   [`Error::UnknownOutcome`](crate::Error::UnknownOutcome) if the store didn't answer.
/// - [`Error::CapacityExceeded`](crate::Error::CapacityExceeded) if the store has no room even for that.
/// - [`Error::Closed`](crate::Error::Closed) if the provider is closed.
/// - [`Error::Configuration`](crate::Error::Configuration) if the lease's provider isn't configured
///   here, or its tables aren't there.
///
/// # Cancellation safety
///
/// Dropped at any await point, the lease may be extended or not.
#[derive(Debug)]
#[must_use = "nothing is extended before it is awaited"]
pub struct Extend<'a> {
    target: Result<&'a Target>,
    lease: &'a Lease,
    remaining: Duration,
}

impl<'a> Extend<'a> {
    pub(super) fn new(module: &'a LockingModule, lease: &'a Lease, remaining: Duration) -> Self {
        Self { target: module.target(lease.provider.as_str()), lease, remaining }
    }

    fn start(self) -> Result<CallFuture<'a, ()>> {
        let (target, lease) = (self.target?, self.lease);
        let expiry = Expiry::new(self.remaining)?;
        if lease.keys().is_empty() {
            return Err(InvalidInput::NoKeys.into());
        }
        let span = tracing::debug_span!(
            "locking.extend",
            provider = %target.id(),
            keys = ?lease.key_names(),
            owner = lease.told_owner(),
            remaining = ?self.remaining,
            outcome = tracing::field::Empty,
        );
        let extended = target.provider().extend(lease, expiry);
        let call = Box::pin(async move {
            extended
                .await
                .map_err(|error| error.about(lease.keys().iter().map(|leased| &leased.key)))
        });
        Ok(traced(span, call))
    }
}

impl<'a> IntoFuture for Extend<'a> {
    type Output = Result<()>;
    type IntoFuture = CallFuture<'a, ()>;

    fn into_future(self) -> CallFuture<'a, ()> {
        self.start().unwrap_or_else(|error| refused("extend", error))
    }
}
