use super::call::{refused, traced};
use super::target::Target;
use super::{CallFuture, LockingModule};
use crate::error::Result;
use crate::invalid::InvalidInput;
use crate::owner::{IntoOwner, OwnerId};
use crate::request::ReleaseScope;

/// A call of [`LockingModule::release_all`]; awaiting it answers how many keys were freed.
///
/// # Errors
///
/// - [`Error::InvalidInput`](crate::Error::InvalidInput) before any I/O, for the owner.
/// - [`Error::Unavailable`](crate::Error::Unavailable) or
///   [`Error::UnknownOutcome`](crate::Error::UnknownOutcome) if the store didn't answer.
/// - [`Error::CapacityExceeded`](crate::Error::CapacityExceeded) if the store has no room even for that.
/// - [`Error::Closed`](crate::Error::Closed) if the provider is closed.
/// - [`Error::Configuration`](crate::Error::Configuration) if it names a provider that isn't
///   configured, or whose tables aren't there.
///
/// # Cancellation safety
///
/// Dropped at any await point, some of the keys may be released; calling it again does no harm.
#[derive(Debug)]
#[must_use = "nothing is released before it is awaited"]
pub struct ReleaseAll<'a> {
    module: &'a LockingModule,
    target: Result<&'a Target>,
    owner: Option<Result<OwnerId, InvalidInput>>,
    including_running: bool,
}

impl<'a> ReleaseAll<'a> {
    pub(super) fn new(module: &'a LockingModule) -> Self {
        Self { module, target: Ok(module.default_target()), owner: None, including_running: false }
    }

    /// Whose leases. Default: everybody's, owned or not.
    pub fn owner(self, owner: impl IntoOwner) -> Self {
        Self { owner: Some(owner.into_owner()), ..self }
    }

    /// Guards and running jobs too; they learn that their lock is lost. Default: only leases made by
    /// `acquire`.
    pub fn including_running(self) -> Self {
        Self { including_running: true, ..self }
    }

    /// The provider to ask, by id or identifier, with or without `lp_`. Default: the default one.
    pub fn provider(self, name: &str) -> Self {
        Self { target: self.module.target(name), ..self }
    }

    fn start(self) -> Result<CallFuture<'a, u64>> {
        let target = self.target?;
        let mut scope = ReleaseScope::everybody();
        scope.owner = self.owner.transpose()?;
        scope.including_running = self.including_running;
        let span = tracing::debug_span!(
            "locking.release_all",
            provider = %target.id(),
            owner = scope.owner.as_ref().map(tracing::field::display),
            including_running = scope.including_running,
            outcome = tracing::field::Empty,
        );
        Ok(traced(span, target.provider().release_all(scope)))
    }
}

impl<'a> IntoFuture for ReleaseAll<'a> {
    type Output = Result<u64>;
    type IntoFuture = CallFuture<'a, u64>;

    fn into_future(self) -> CallFuture<'a, u64> {
        self.start().unwrap_or_else(|error| refused("release_all", error))
    }
}
