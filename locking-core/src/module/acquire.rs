use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;
use tracing::Span;

use super::call::tell_refused;
use super::target::Target;
use super::{CallFuture, LockingModule};
use crate::closing::{Closing, Unanswered, UnlessClosed};
use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::invalid::InvalidInput;
use crate::key_set::KeySet;
use crate::lease::Lease;
use crate::owner::{IntoOwner, OwnerId};
use crate::provider::Begun;
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
/// - [`Error::Configuration`] if it names a provider that isn't configured, or whose tables aren't there.
///
/// # Panics
///
/// Awaited outside a tokio runtime with its timer enabled, if it has to wait.
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
        AcquireFuture(match self.start() {
            Ok(granting) => State::Asked(granting),
            Err(error) => {
                tell_refused("acquire", &error);
                State::Refused(Some(error))
            }
        })
    }
}

/// The future of an [`Acquire`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct AcquireFuture<'a>(State<'a>);

enum State<'a> {
    /// `None`: it is answered.
    Refused(Option<Error>),
    Asked(Granting<'a>),
}

impl Future for AcquireFuture<'_> {
    type Output = Result<Lease>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Lease>> {
        let answer = match &mut self.0 {
            State::Refused(error) => {
                Err(error.take().expect("not polled again after it was ready"))
            }
            State::Asked(granting) => ready!(Pin::new(granting).poll(context)),
        };
        // Answered is as good as dropped, however long this value lives on: a close doesn't wait for it.
        self.0 = State::Refused(None);
        Poll::Ready(answer.map(|grant| grant.lease))
    }
}

impl fmt::Debug for AcquireFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireFuture").finish_non_exhaustive()
    }
}

/// An acquisition that a provider is asked for: given up when the module is closed, and told to
/// whoever listens to spans. A close waits until it is dropped.
pub(super) struct Granting<'a> {
    /// `None`: it has begun.
    request: Option<AcquireRequest>,
    /// What answers it, unless that was done at once. Dropped before it is counted out: so a close sees
    /// it, or what its drop gives back.
    asked_for: Option<CallFuture<'a, Grant>>,
    unanswered: Option<Unanswered<'a>>,
    closing: &'a Closing,
    target: &'a Target,
    span: Span,
    /// Read only where somebody listens.
    asked: Option<Instant>,
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
        let request = Some(request);
        Ok(Self { request, asked_for: None, unanswered: None, closing, target, span, asked })
    }
}

impl Future for Granting<'_> {
    type Output = Result<Grant>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Grant>> {
        let this = self.get_mut();
        let _entered = this.span.enter();
        let begun = this.request.take().map(|request| {
            // Counted before anything is asked for: a close that isn't seen here sees the call.
            this.unanswered = Some(this.closing.unanswered(&this.span));
            if this.closing.has_begun() {
                return Begun::Answered(Err(Error::closed(this.target.id())));
            }
            this.target.provider().begin_acquire(request)
        });
        let result = match begun {
            Some(Begun::Answered(result)) => result,
            begun => {
                if let Some(Begun::Asked(call)) = begun {
                    this.asked_for = Some(unless_closed(call, this.target, this.closing));
                }
                let asked_for = this.asked_for.as_mut().expect("what isn't answered is asked for");
                ready!(asked_for.as_mut().poll(context))
            }
        };
        if let Some(asked) = this.asked {
            tell(&this.span, asked.elapsed(), &result);
        }
        Poll::Ready(result)
    }
}

fn tell(span: &Span, waited: Duration, result: &Result<Grant>) {
    let outcome = result.as_ref().map_or_else(Error::outcome, |_| "granted");
    span.record("outcome", outcome);
    span.record("waited", tracing::field::debug(waited));
    tracing::debug!(outcome, ?waited, "lock asked for");
}

/// A call that fails when the module is closed, if it doesn't by itself.
fn unless_closed<'a>(
    call: CallFuture<'a, Grant>,
    target: &'a Target,
    closing: &'a Closing,
) -> CallFuture<'a, Grant> {
    if target.provider().ends_waits() {
        return call;
    }
    Box::pin(async {
        let answer = UnlessClosed::new(call, closing).await;
        answer.unwrap_or_else(|| Err(Error::closed(target.id())))
    })
}
