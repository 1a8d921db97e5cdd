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
use crate::request::{AcquireRequest, Hold, HoldKind};
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

    /// How long to wait for keys that others hold, as one deadline for the whole call, counted from when it is
    /// first polled. Default, and zero: it tries once.
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

    /// What is asked for. It is taken out, which moves less than to take the call apart would.
    fn take_request(&mut self) -> Result<AcquireRequest> {
        if let Some(problem) = self.problem.take() {
            return Err(*problem);
        }
        Ok(AcquireRequest {
            expiry: self.expire.map(Expiry::new).transpose()?,
            wait: self.wait.deadline()?,
            keys: self.keys.take().ok_or(InvalidInput::NoKeys)?,
            owner: self.owner.take(),
            hold: Hold::Lease,
        })
    }
}

impl<'a> IntoFuture for Acquire<'a> {
    type Output = Result<Lease>;
    type IntoFuture = AcquireFuture<'a>;

    fn into_future(self) -> AcquireFuture<'a> {
        AcquireFuture { call: self, has_begun: false, granting: None }
    }
}

/// The future of an [`Acquire`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct AcquireFuture<'a> {
    call: Acquire<'a>,
    has_begun: bool,
    /// What isn't answered at once.
    granting: Option<Granting<'a>>,
}

impl Future for AcquireFuture<'_> {
    type Output = Result<Lease>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Lease>> {
        if !std::mem::replace(&mut self.has_begun, true) {
            let request = match self.call.take_request() {
                Ok(request) => request,
                Err(error) => {
                    tell_refused("acquire", &error);
                    return Poll::Ready(Err(error));
                }
            };
            let granting = Granting::new(self.call.module, self.call.target, &request);
            let answer = ready!(self.granting.insert(granting).begin(request, context));
            self.granting = None;
            return Poll::Ready(answer.map(|grant| grant.lease));
        }
        let granting = self.granting.as_mut().expect("not polled again after it was ready");
        let answer = ready!(Pin::new(granting).poll(context));
        // Answered is as good as dropped, however long this value lives on: a close doesn't wait for it.
        self.granting = None;
        Poll::Ready(answer.map(|grant| grant.lease))
    }
}

impl fmt::Debug for AcquireFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireFuture").finish_non_exhaustive()
    }
}

/// An acquisition that a provider is asked for: given up when the module is closed, and told to
/// whoever listens to spans. A close waits until it is dropped, once it is counted. Once it has begun, it is a future.
pub(super) struct Granting<'a> {
    /// What answers it, unless that was done at once. Dropped before it is counted out: so a close sees
    /// it, or what its drop gives back.
    asked_for: Option<CallFuture<'a, Grant>>,
    /// Counted before anything is asked for: a close that isn't seen then sees the call. Only a lease whose provider
    /// ends waits is counted once it waits: what is granted at once is granted before the close, or not at all.
    unanswered: Option<Unanswered<'a>>,
    closing: &'a Closing,
    target: &'a Target,
    /// Where somebody listens. In a box: usually nobody does, and the rest is moved about.
    told: Option<Box<Told>>,
}

/// The span of an acquisition.
struct Told {
    span: Span,
    asked: Instant,
}

impl<'a> Granting<'a> {
    pub(super) fn new(
        module: &'a LockingModule,
        target: &'a Target,
        request: &AcquireRequest,
    ) -> Self {
        let closing = &**module.closing();
        let span = tracing::debug_span!(
            "locking.acquire",
            provider = %target.id(),
            keys = ?request.keys,
            owner = request.owner.as_ref().map(tracing::field::display),
            kind = ?request.hold.kind(),
            waited = tracing::field::Empty,
            outcome = tracing::field::Empty,
        );
        let told = (!span.is_disabled()).then(|| Box::new(Told { span, asked: Instant::now() }));
        let is_counted = request.hold.kind() == HoldKind::Guard || !target.provider().ends_waits();
        let unanswered = is_counted.then(|| closing.unanswered(request));
        Self { asked_for: None, unanswered, closing, target, told }
    }

    /// Begins it: its first poll.
    pub(super) fn begin(
        &mut self,
        request: AcquireRequest,
        context: &mut Context<'_>,
    ) -> Poll<Result<Grant>> {
        let _entered = self.told.as_ref().map(|told| told.span.enter());
        if self.closing.has_begun() {
            return Poll::Ready(self.refuse(&request.keys));
        }
        let keys = self.target.keys_to_name(&request.keys);
        let (call, waits) = match self.target.provider().begin_acquire(request, context) {
            Begun::Answered(answer) => {
                let answer = match keys {
                    None => answer,
                    Some(keys) => answer.map_err(|error| error.about(&keys)),
                };
                self.tell(&answer);
                return Poll::Ready(answer);
            }
            // It ends by itself when the module is closed, and its task is woken then.
            Begun::Waiting(call) => (call, keys.is_none()),
            Begun::Asked(call) => (call, false),
        };
        let call = unless_closed(call, keys, self.target, self.closing);
        let call = self.asked_for.insert(call);
        self.unanswered.get_or_insert_with(|| self.closing.unanswered(call));
        // A close that didn't see it has ended it.
        if waits && !self.closing.has_begun() {
            return Poll::Pending;
        }
        let answer = ready!(call.as_mut().poll(context));
        self.tell(&answer);
        Poll::Ready(answer)
    }

    #[cold]
    fn refuse(&self, keys: &KeySet) -> Result<Grant> {
        let closed = Error::closed(self.target.id()).about(keys);
        if let Some(told) = &self.told {
            told.span.record("outcome", closed.outcome());
        }
        tell_refused("acquire", &closed);
        Err(closed)
    }

    fn tell(&self, answer: &Result<Grant>) {
        let Some(told) = &self.told else { return };
        let (waited, outcome) =
            (told.asked.elapsed(), answer.as_ref().map_or_else(Error::outcome, |_| "granted"));
        told.span.record("outcome", outcome);
        told.span.record("waited", tracing::field::debug(waited));
        tracing::debug!(outcome, ?waited, "lock asked for");
    }
}

impl Future for Granting<'_> {
    type Output = Result<Grant>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Grant>> {
        let this = self.get_mut();
        let _entered = this.told.as_ref().map(|told| told.span.enter());
        let asked_for = this.asked_for.as_mut().expect("what isn't answered is asked for");
        let answer = ready!(asked_for.as_mut().poll(context));
        this.tell(&answer);
        Poll::Ready(answer)
    }
}

/// A call that fails when the module is closed, and whose error names these keys; unless the provider sees to both.
fn unless_closed<'a>(
    call: CallFuture<'a, Grant>,
    keys: Option<KeySet>,
    target: &'a Target,
    closing: &'a Closing,
) -> CallFuture<'a, Grant> {
    let Some(keys) = keys else { return call };
    Box::pin(async move {
        let answer = UnlessClosed::new(call, closing).await;
        let answer = answer.unwrap_or_else(|| Err(Error::closed(target.id())));
        answer.map_err(|error| error.about(&keys))
    })
}
