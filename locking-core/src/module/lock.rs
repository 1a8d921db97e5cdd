use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;

use super::acquire::Granting;
use super::call::{refused, traced};
use super::target::Target;
use super::{CallFuture, LockingModule};
use crate::error::{Error, Result};
use crate::guard::{GuardState, LEAST_LEASE, LockGuard};
use crate::invalid::InvalidInput;
use crate::key_set::KeySet;
use crate::loss::LossSignal;
use crate::moment::Moment;
use crate::owner::OwnerId;
use crate::request::AcquireRequest;
use crate::time::{Expiry, Wait, WaitUntil};

/// How long a guard's lease lasts when nothing else is said.
const DEFAULT_LEASE: Duration = Duration::from_secs(30);

/// A call of [`LockingModule::lock`]; awaiting it gives a [`LockGuard`].
///
/// # Errors
///
/// - [`Error::TimedOut`] at the deadline; [`Error::Held`] with a timeout of zero.
/// - [`Error::InvalidInput`] before any I/O, for keys, timeout or lease.
/// - [`Error::Unavailable`], [`Error::UnknownOutcome`], [`Error::CapacityExceeded`] for the store.
/// - [`Error::Closed`] if the module is closed, also while it waits.
/// - [`Error::Configuration`] if it names a provider that isn't configured, or whose tables aren't there.
///
/// # Panics
///
/// Awaited outside a tokio runtime with its timer enabled: that renews the guard.
///
/// # Cancellation safety
///
/// Dropped at any await point, what it had taken is given back within 1 s.
#[derive(Debug)]
#[must_use = "nothing is locked before it is awaited"]
pub struct Lock<'a> {
    module: &'a LockingModule,
    target: Result<&'a Target>,
    keys: Result<KeySet, InvalidInput>,
    timeout: Option<Wait>,
    lease: Duration,
}

impl<'a> Lock<'a> {
    pub(super) fn new(module: &'a LockingModule, keys: Result<KeySet, InvalidInput>) -> Self {
        Self {
            module,
            target: Ok(module.default_target()),
            keys,
            timeout: None,
            lease: DEFAULT_LEASE,
        }
    }

    /// How long to wait for keys that others hold. Default: the provider's
    /// `wait_locking_timeout`, 5 s. Zero tries once.
    pub fn timeout(self, timeout: impl Into<Wait>) -> Self {
        Self { timeout: Some(timeout.into()), ..self }
    }

    /// How long the keys stay held after this process died. Default: 30 s; at least 50 ms. It is
    /// renewed at a third of it.
    pub fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// The provider to ask, by id or identifier, with or without `lp_`. Default: the default one.
    pub fn provider(self, name: &str) -> Self {
        Self { target: self.module.target(name), ..self }
    }

    /// Tells a span around the whole call what the call is about.
    pub(super) fn described(&self, span: Span) -> Span {
        if let (false, Ok(target), Ok(keys)) = (span.is_disabled(), &self.target, &self.keys) {
            span.record("provider", tracing::field::display(target.id()));
            span.record("keys", tracing::field::debug(keys));
        }
        span
    }

    /// Checks the call. Its time begins here.
    pub(super) fn start(self) -> Result<Asking<'a>> {
        let keys = self.keys?;
        let expiry = Expiry::new(self.lease)?;
        if self.lease < LEAST_LEASE {
            return Err(InvalidInput::GuardLease { given: self.lease, least: LEAST_LEASE }.into());
        }
        let target = self.target?;
        let timeout = self.timeout.unwrap_or(target.provider().wait_locking_timeout().into());
        let asked = Instant::now();
        let wait = timeout.deadline_from(|| asked)?;
        Ok(Asking { module: self.module, target, keys, expiry, asked, wait })
    }
}

/// A call that was checked.
pub(super) struct Asking<'a> {
    module: &'a LockingModule,
    target: &'a Target,
    keys: KeySet,
    expiry: Expiry,
    asked: Instant,
    wait: WaitUntil,
}

impl Asking<'_> {
    pub(super) async fn guard(mut self) -> Result<LockGuard> {
        loop {
            let (guard, now) = self.granted().await?;
            if !guard.needs_confirmation(now) {
                return Ok(guard);
            }
            // In a box: the usual guard needs no room for it.
            match Box::pin(guard.confirmed(self.wait.instant())).await {
                // A stale grant: it ended before it reached us.
                Err(Error::Lost { .. }) if !is_over(self.wait) => {}
                Err(Error::Lost { provider, key, .. }) => {
                    return Err(Error::TimedOut { provider, key });
                }
                answer => return answer.map_err(|error| error.about(&self.keys)),
            }
            self.asked = Instant::now();
        }
    }

    /// A guard, and when it was granted.
    async fn granted(&self) -> Result<(LockGuard, Moment)> {
        let Self { module, target, expiry, .. } = *self;
        if module.closing().has_begun() {
            return Err(Error::closed(target.id()).about(&self.keys));
        }
        let loss = LossSignal::new();
        let request = AcquireRequest::new(self.keys.clone())
            .with_owner(OwnerId::fresh())
            .with_expiry(expiry)
            .with_wait(self.wait)
            .with_guard(loss.clone());
        let keeper = module.keepers().current(module.closing());
        let asked = Moment::of(self.asked);
        let mut granting = Granting::new(module, target, &request);
        let mut request = Some(request);
        let grant = poll_fn(|context| match request.take() {
            Some(request) => granting.begin(request, context),
            None => Pin::new(&mut granting).poll(context),
        });
        let grant = grant.await?;
        // No await between here and the guard: whoever drops this future drops a guard. And until it is
        // there, a close sees the granting.
        let (provider, now) = (Arc::clone(target.provider()), Instant::now());
        let state = GuardState::new(provider, grant, expiry, asked, loss);
        Ok((LockGuard::new(state, keeper, now)?, Moment::of(now)))
    }
}

fn is_over(wait: WaitUntil) -> bool {
    wait.instant().is_some_and(|deadline| deadline <= Instant::now())
}

impl<'a> IntoFuture for Lock<'a> {
    type Output = Result<LockGuard>;
    type IntoFuture = CallFuture<'a, LockGuard>;

    fn into_future(self) -> CallFuture<'a, LockGuard> {
        let span =
            tracing::debug_span!("locking.lock", provider = Empty, keys = Empty, outcome = Empty);
        let span = self.described(span);
        match self.start() {
            Ok(asking) => traced(span, Box::pin(asking.guard())),
            Err(error) => {
                span.record("outcome", error.outcome());
                refused("lock", error)
            }
        }
    }
}
