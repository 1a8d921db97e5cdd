use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;
use tracing::Span;

use super::call::{outcome_of_release, refused, tell, tell_refused, traced_as};
use super::target::Target;
use super::{CallFuture, LockingModule};
use crate::error::{Error, Result};
use crate::invalid::InvalidInput;
use crate::key_set::KeySet;
use crate::lease::Lease;
use crate::owner::{IntoOwner, OwnerId};
use crate::provider::Begun;

/// A call of [`LockingModule::release`]; awaiting it answers whether every key was held.
///
/// # Errors
///
/// - [`Error::InvalidInput`] before any I/O, for keys or owner.
/// - [`Error::Unavailable`] or [`Error::UnknownOutcome`] if the store didn't answer.
/// - [`Error::CapacityExceeded`] if the store has no room even for that.
/// - [`Error::Closed`] if the provider is closed.
/// - [`Error::Configuration`] if it names a provider that isn't configured, or whose tables aren't there.
///
/// # Cancellation safety
///
/// Dropped at any await point, the keys may be released or not; calling it again does no harm.
#[derive(Debug)]
#[must_use = "nothing is released before it is awaited"]
pub struct Release<'a> {
    module: &'a LockingModule,
    target: &'a Target,
    /// `None` where `problem` says why.
    keys: Option<KeySet>,
    owner: Option<OwnerId>,
    /// The first mistake in the call.
    problem: Option<Box<Error>>,
}

impl<'a> Release<'a> {
    pub(super) fn new(module: &'a LockingModule, keys: Result<KeySet, InvalidInput>) -> Self {
        let target = module.default_target();
        let call = Self { module, target, keys: None, owner: None, problem: None };
        match keys {
            Ok(keys) => Self { keys: Some(keys), ..call },
            Err(problem) => call.with_problem(problem.into()),
        }
    }

    /// Whose leases. Default: anonymous ones, whoever made them.
    pub fn owner(self, owner: impl IntoOwner) -> Self {
        match owner.into_owner() {
            Ok(owner) => Self { owner: Some(owner), ..self },
            Err(problem) => self.with_problem(problem.into()),
        }
    }

    /// The provider to ask, by id or identifier, with or without `lp_`. Default: the default one.
    pub fn provider(self, name: &str) -> Self {
        match self.module.target(name) {
            Ok(target) => Self { target, ..self },
            Err(problem) => self.with_problem(problem),
        }
    }

    #[cold]
    fn with_problem(self, problem: Error) -> Self {
        Self { problem: self.problem.or_else(|| Some(Box::new(problem))), ..self }
    }

    fn refused(error: Error) -> Begun<'a, bool> {
        tell_refused("release", &error);
        Begun::Answered(Err(error))
    }

    /// The answer, or what gives it.
    fn begin(&mut self) -> Begun<'a, bool> {
        let target = self.target;
        if let Some(problem) = self.problem.take() {
            return Self::refused(*problem);
        }
        let Some(keys) = &self.keys else {
            return Self::refused(InvalidInput::NoKeys.into());
        };
        let owner = self.owner.as_ref();
        let span = tracing::debug_span!(
            "locking.release",
            provider = %target.id(),
            ?keys,
            owner = owner.map(tracing::field::display),
            outcome = tracing::field::Empty,
        );
        let asked = (!span.is_disabled()).then(Instant::now);
        let entered = span.enter();
        let mut begun = target.provider().begin_release(keys, owner);
        drop(entered);
        if let Some(keys) = target.keys_to_name(keys) {
            begun = about(keys, begun);
        }
        match begun {
            Begun::Answered(answer) => Begun::Answered(told(&span, asked, answer)),
            Begun::Asked(call) | Begun::Waiting(call) => {
                Begun::Asked(traced_as(span, call, outcome_of_release))
            }
        }
    }
}

/// The same, and its error names these keys.
fn about(keys: KeySet, begun: Begun<'_, bool>) -> Begun<'_, bool> {
    match begun {
        Begun::Answered(answer) => Begun::Answered(answer.map_err(|error| error.about(&keys))),
        Begun::Asked(call) | Begun::Waiting(call) => {
            Begun::Asked(Box::pin(async move { call.await.map_err(|error| error.about(&keys)) }))
        }
    }
}

/// An answer, once whoever listens was told of it.
fn told(span: &Span, asked: Option<Instant>, answer: Result<bool>) -> Result<bool> {
    if let Some(asked) = asked {
        span.in_scope(|| tell(span, asked, outcome_of_release(&answer)));
    }
    answer
}

impl<'a> IntoFuture for Release<'a> {
    type Output = Result<bool>;
    type IntoFuture = ReleaseFuture<'a>;

    fn into_future(self) -> ReleaseFuture<'a> {
        ReleaseFuture { call: self, has_begun: false, asked_for: None }
    }
}

/// The future of a [`Release`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct ReleaseFuture<'a> {
    call: Release<'a>,
    has_begun: bool,
    /// What answers it, unless that was done at once.
    asked_for: Option<CallFuture<'a, bool>>,
}

impl Future for ReleaseFuture<'_> {
    type Output = Result<bool>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<bool>> {
        if !std::mem::replace(&mut self.has_begun, true) {
            match self.call.begin() {
                Begun::Answered(answer) => return Poll::Ready(answer),
                Begun::Asked(call) | Begun::Waiting(call) => self.asked_for = Some(call),
            }
        }
        let asked_for = self.asked_for.as_mut().expect("not polled again after it was ready");
        let answer = ready!(asked_for.as_mut().poll(context));
        self.asked_for = None;
        Poll::Ready(answer)
    }
}

impl fmt::Debug for ReleaseFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReleaseFuture").finish_non_exhaustive()
    }
}

/// A call of [`LockingModule::release_lease`]; awaiting it answers whether all that the lease took
/// was still held by it.
///
/// # Errors
///
/// - [`Error::Unavailable`] or [`Error::UnknownOutcome`] if the store didn't answer.
/// - [`Error::CapacityExceeded`] if the store has no room even for that.
/// - [`Error::Closed`] if the provider is closed.
/// - [`Error::Configuration`] if the lease's provider isn't configured here, or its tables aren't there.
///
/// # Cancellation safety
///
/// Dropped at any await point, the lease may be released or not; calling it again does no harm.
#[derive(Debug)]
#[must_use = "nothing is released before it is awaited"]
pub struct ReleaseLease<'a> {
    target: Result<&'a Target>,
    lease: &'a Lease,
}

impl<'a> ReleaseLease<'a> {
    pub(super) fn new(module: &'a LockingModule, lease: &'a Lease) -> Self {
        Self { target: module.target(lease.provider.as_str()), lease }
    }

    fn start(self) -> Result<CallFuture<'a, bool>> {
        let (target, lease) = (self.target?, self.lease);
        let span = tracing::debug_span!(
            "locking.release_lease",
            provider = %target.id(),
            keys = ?lease.key_names(),
            owner = lease.told_owner(),
            outcome = tracing::field::Empty,
        );
        let released = target.provider().release_lease(lease);
        let call = Box::pin(async move {
            match released.await {
                Ok(()) => Ok(true),
                Err(Error::Lost { .. }) => Ok(false),
                Err(error) => Err(error.about(lease.taken().map(|leased| &leased.key))),
            }
        });
        Ok(traced_as(span, call, outcome_of_release))
    }
}

impl<'a> IntoFuture for ReleaseLease<'a> {
    type Output = Result<bool>;
    type IntoFuture = CallFuture<'a, bool>;

    fn into_future(self) -> CallFuture<'a, bool> {
        self.start().unwrap_or_else(|error| refused("release_lease", error))
    }
}
