use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tracing::Span;

use super::target::Target;
use super::{CallFuture, LockingModule};
use crate::closing::{Closing, Unanswered, UnlessClosed};
use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::invalid::InvalidInput;
use crate::key_set::KeySet;
use crate::lease::Lease;
use crate::owner::{IntoOwner, OwnerId};
use crate::request::AcquireRequest;
use crate::time::{Expiry, Wait};

/// A call of [`LockingModule::acquire`]; awaiting it gives a [`Lease`].
///
/// # Errors
///
/// - [`Error::Held`] if somebody else holds a key and it doesn't wait.
/// - [`Error::TimedOut`] at the deadline, if it waits.
/// - [`Error::InvalidInput`] before any I/O, for keys, owner, expiry or wait.
/// - [`Error::Unavailable`], [`Error::UnknownOutcome`], [`Error::CapacityExceeded`] for the store.
/// - [`Error::Closed`] if the module is closed, also while it waits.
/// - [`Error::Configuration`] if it names a provider that isn't configured.
///
/// # Cancellation safety
///
/// Dropped at any await point, what it had taken is given back within 1 s.
#[derive(Debug)]
#[must_use = "nothing is acquired before it is awaited"]
pub struct Acquire<'a> {
    module: &'a LockingModule,
    target: &'a Target,
    /// `None` where `problem` says why.
    keys: Option<KeySet>,
    owner: Option<OwnerId>,
    expire: Option<Duration>,
    wait: Wait,
    /// The first mistake in the call.
    problem: Option<Box<Error>>,
}

impl<'a> Acquire<'a> {
    pub(super) fn new(module: &'a LockingModule, keys: Result<KeySet, InvalidInput>) -> Self {
        let target = module.default_target();
        let wait = Wait::For(Duration::ZERO);
        let call =
            Self { module, target, keys: None, owner: None, expire: None, wait, problem: None };
        match keys {
            Ok(keys) => Self { keys: Some(keys), ..call },
            Err(problem) => call.with_problem(problem.into()),
        }
    }

    /// Who will hold the keys. Default: nobody in particular; the lease is then never re-entered.
    pub fn owner(self, owner: impl IntoOwner) -> Self {
        match owner.into_owner() {
            Ok(owner) => Self { owner: Some(owner), ..self },
            Err(problem) => self.with_problem(problem.into()),
        }
    }

    /// How long the lease lasts unless it is extended. Default: until it is released.
    pub fn expire(self, after: Duration) -> Self {
        Self { expire: Some(after), ..self }
    }

    /// How long to wait for keys that others hold, as one deadline for the whole call. Default, and
    /// zero: it tries once.
    pub fn wait(self, wait: impl Into<Wait>) -> Self {
        Self { wait: wait.into(), ..self }
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

    fn start(self) -> Result<Granting<'a>> {
        if let Some(problem) = self.problem {
            return Err(*problem);
        }
        let keys = self.keys.ok_or(InvalidInput::NoKeys)?;
        let mut request = AcquireRequest::new(keys);
        request.owner = self.owner;
        request.expiry = self.expire.map(Expiry::new).transpose()?;
        request.wait = self.wait.deadline()?;
        Granting::new(self.module, self.target, request)
    }
}

impl<'a> IntoFuture for Acquire<'a> {
    type Output = Result<Lease>;
    type IntoFuture = AcquireFuture<'a>;

    fn into_future(self) -> AcquireFuture<'a> {
        match self.start() {
            Ok(granting) => AcquireFuture::Asked { granting },
            Err(error) => AcquireFuture::Refused { error: Some(error) },
        }
    }
}

pin_project! {
    /// The future of an [`Acquire`].
    #[project = AcquireFutureProjection]
    #[must_use = "futures do nothing unless they are awaited"]
    #[allow(missing_docs, clippy::large_enum_variant, clippy::exhaustive_enums)]
    pub enum AcquireFuture<'a> {
        #[doc(hidden)]
        Refused { error: Option<Error> },
        #[doc(hidden)]
        Asked { #[pin] granting: Granting<'a> },
    }
}

impl Future for AcquireFuture<'_> {
    type Output = Result<Lease>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Lease>> {
        let answer = match self.as_mut().project() {
            AcquireFutureProjection::Refused { error } => {
                Err(error.take().expect("not polled again after it was ready"))
            }
            AcquireFutureProjection::Asked { granting } => ready!(granting.poll(context)),
        };
        // Answered is as good as dropped, however long this value lives on: where a close cut it short, what
        // was asked for is given up.
        self.set(AcquireFuture::Refused { error: None });
        Poll::Ready(answer.map(|grant| grant.lease))
    }
}

impl fmt::Debug for AcquireFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireFuture").finish_non_exhaustive()
    }
}

pin_project! {
    /// An acquisition that a provider was asked for: given up when the module is closed, and told to
    /// whoever listens to spans. A close waits until it is dropped.
    pub struct Granting<'a> {
        // Dropped before it is counted out: so a close sees it, or what its drop gives back.
        #[pin]
        asking: UnlessClosed<'a, CallFuture<'a, Grant>>,
        // `None`: it hasn't begun.
        unanswered: Option<Unanswered<'a>>,
        closing: &'a Closing,
        target: &'a Target,
        span: Span,
        // Read only where somebody listens.
        asked: Option<Instant>,
    }
}

impl<'a> Granting<'a> {
    pub(super) fn new(
        module: &'a LockingModule,
        target: &'a Target,
        request: AcquireRequest,
    ) -> Result<Self> {
        let closing = &**module.closing();
        if closing.has_begun() {
            return Err(Error::closed(target.id()));
        }
        let span = tracing::debug_span!(
            "locking.acquire",
            provider = %target.id(),
            keys = ?request.keys,
            owner = request.owner.as_ref().map(tracing::field::display),
            kind = ?request.hold.kind(),
            waited = tracing::field::Empty,
            outcome = tracing::field::Empty,
        );
        let asked = (!span.is_disabled()).then(Instant::now);
        let provider = target.provider();
        let gives_up = (!provider.ends_waits()).then_some(closing);
        let asking = UnlessClosed::new(provider.acquire(request), gives_up);
        Ok(Self { asking, unanswered: None, closing, target, span, asked })
    }
}

impl Future for Granting<'_> {
    type Output = Result<Grant>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Grant>> {
        let this = self.project();
        let _entered = this.span.enter();
        this.unanswered.get_or_insert_with(|| this.closing.unanswered(this.span));
        let answer = ready!(this.asking.poll(context));
        let result = answer.unwrap_or_else(|| Err(Error::closed(this.target.id())));
        if let Some(asked) = this.asked {
            let outcome = result.as_ref().map_or_else(Error::outcome, |_| "granted");
            let waited = asked.elapsed();
            this.span.record("outcome", outcome);
            this.span.record("waited", tracing::field::debug(waited));
            tracing::debug!(outcome, ?waited, "lock asked for");
        }
        Poll::Ready(result)
    }
}
