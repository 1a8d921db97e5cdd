use super::call::{refused, traced};
use super::target::Target;
use super::{CallFuture, LockingModule};
use crate::error::{Error, Result};
use crate::info::LockInfo;
use crate::invalid::InvalidInput;
use crate::key::LockKey;

/// A call of [`LockingModule::inspect`]; awaiting it answers who holds the key, if somebody does.
///
/// # Errors
///
/// - [`Error::Unsupported`](crate::Error::Unsupported) if the provider doesn't declare
///   [`Capability::Lists`](crate::Capability::Lists).
/// - [`Error::InvalidInput`](crate::Error::InvalidInput) before any I/O, for the key.
/// - [`Error::Unavailable`](crate::Error::Unavailable) if the store didn't answer.
/// - [`Error::CapacityExceeded`](crate::Error::CapacityExceeded) if the store has no room even for that.
/// - [`Error::Closed`](crate::Error::Closed) if the provider is closed.
/// - [`Error::Configuration`](crate::Error::Configuration) if it names a provider that isn't
///   configured, or whose tables aren't there.
///
/// # Cancellation safety
///
/// Dropped at any await point, nothing has changed.
#[derive(Debug)]
#[must_use = "nothing is asked before it is awaited"]
pub struct Inspect<'a> {
    module: &'a LockingModule,
    target: Result<&'a Target>,
    key: Result<LockKey, InvalidInput>,
}

impl<'a> Inspect<'a> {
    pub(super) fn new(module: &'a LockingModule, key: &str) -> Self {
        Self { module, target: Ok(module.default_target()), key: LockKey::new(key) }
    }

    /// The provider to ask, by id or identifier, with or without `lp_`. Default: the default one.
    pub fn provider(self, name: &str) -> Self {
        Self { target: self.module.target(name), ..self }
    }

    fn start(self) -> Result<CallFuture<'a, Option<LockInfo>>> {
        let (key, target) = (self.key?, self.target?);
        let span = tracing::debug_span!(
            "locking.inspect",
            provider = %target.id(),
            keys = ?[&key],
            outcome = tracing::field::Empty,
        );
        let call = Box::pin(async move {
            let answer = told(target.provider().inspect(&key).await);
            answer.map_err(|error| error.about([&key]))
        });
        Ok(traced(span, call))
    }
}

impl<'a> IntoFuture for Inspect<'a> {
    type Output = Result<Option<LockInfo>>;
    type IntoFuture = CallFuture<'a, Option<LockInfo>>;

    fn into_future(self) -> Self::IntoFuture {
        self.start().unwrap_or_else(|error| refused("inspect", error))
    }
}

/// A call of [`LockingModule::list`]; awaiting it answers who holds what, in the byte order of the keys.
///
/// # Errors
///
/// - [`Error::Unsupported`](crate::Error::Unsupported) if the provider doesn't declare
///   [`Capability::Lists`](crate::Capability::Lists).
/// - [`Error::Unavailable`](crate::Error::Unavailable) if the store didn't answer.
/// - [`Error::CapacityExceeded`](crate::Error::CapacityExceeded) if the store has no room even for that.
/// - [`Error::Closed`](crate::Error::Closed) if the provider is closed.
/// - [`Error::Configuration`](crate::Error::Configuration) if it names a provider that isn't
///   configured, or whose tables aren't there.
///
/// # Cancellation safety
///
/// Dropped at any await point, nothing has changed.
#[derive(Debug)]
#[must_use = "nothing is asked before it is awaited"]
pub struct List<'a> {
    module: &'a LockingModule,
    target: Result<&'a Target>,
}

impl<'a> List<'a> {
    pub(super) fn new(module: &'a LockingModule) -> Self {
        Self { module, target: Ok(module.default_target()) }
    }

    /// The provider to ask, by id or identifier, with or without `lp_`. Default: the default one.
    pub fn provider(self, name: &str) -> Self {
        Self { target: self.module.target(name), ..self }
    }

    fn start(self) -> Result<CallFuture<'a, Vec<LockInfo>>> {
        let target = self.target?;
        let span = tracing::debug_span!(
            "locking.list",
            provider = %target.id(),
            outcome = tracing::field::Empty,
        );
        Ok(traced(span, Box::pin(async move { told(target.provider().list().await) })))
    }
}

impl<'a> IntoFuture for List<'a> {
    type Output = Result<Vec<LockInfo>>;
    type IntoFuture = CallFuture<'a, Vec<LockInfo>>;

    fn into_future(self) -> Self::IntoFuture {
        self.start().unwrap_or_else(|error| refused("list", error))
    }
}

/// A question changes nothing: without an answer, it can as well be put again.
fn told<T>(answer: Result<T>) -> Result<T> {
    answer.map_err(|error| match error {
        Error::UnknownOutcome { provider, keys, source } => {
            Error::Unavailable { provider, keys, source }
        }
        other => other,
    })
}
