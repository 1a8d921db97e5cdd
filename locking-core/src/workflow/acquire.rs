use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};

use super::lease::StepLease;
use super::run::WorkflowRun;
use super::written;
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::invalid::InvalidInput;
use crate::key_set::{IntoKeys, KeySet};
use crate::lease::Lease;
use crate::module::LockingModule;
use crate::owner::OwnerId;
use crate::provider_id::ProviderId;
use crate::time::{Expiry, Wait};
use crate::with_causes::WithCauses;

/// The step that takes keys for a run of a workflow, as data. Its compensation is
/// [`StepLease::compensate`].
///
/// It can be read from wherever a workflow's inputs are written, and written there:
///
/// ```
/// use std::time::Duration;
/// use locking_core::workflow::AcquireLockStep;
///
/// let step: AcquireLockStep = serde_json::from_str(
///     r#"{ "key": "order_7", "ttl": "1m", "timeout": 2 }"#,
/// )?;
/// let same = AcquireLockStep::new("order_7", Duration::from_secs(60))?
///     .with_timeout(Duration::from_secs(2));
/// assert_eq!(step, same);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Durations are written as `"10s"`, or as a number of seconds; the retry interval only as `"300ms"`.
/// Unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AcquireLockStep {
    /// The keys to take, all of them or none; also written `key`, and one key without brackets.
    #[serde(alias = "key")]
    pub keys: KeySet,
    /// How long the keys are held at most, unless the lease is extended. There is no default: a
    /// workflow that dies for good must not hold its keys for ever.
    #[serde(with = "written::ttl")]
    pub ttl: Expiry,
    /// How long to wait for keys that others hold, and for a store that can't be reached or is full:
    /// one deadline for all. Default: zero, which tries once.
    #[serde(default, with = "crate::config::duration")]
    pub timeout: Duration,
    /// After how long a store that couldn't be reached, or was full, is asked again; more than zero. A
    /// held key isn't asked for again: the step waits in its queue. Default: 300 ms.
    #[serde(default = "written::retry_interval::default", with = "written::retry_interval")]
    pub retry_interval: Duration,
    /// Who will hold the keys. Default: the run's [owner](WorkflowRun::owner).
    ///
    /// What an owner that is named here holds already counts as somebody else's, and is never given
    /// back by the step: so after a crash in the midst of the step, its keys stay held until their
    /// `ttl` is over. And where an attempt was dropped, or its outcome was unknown, what the next one
    /// enters again may still be taken back with it: with an owner of its own, such a step isn't to be
    /// invoked again before `ttl` is over.
    #[serde(default)]
    pub owner: Option<OwnerId>,
    /// The provider to ask, by id or identifier, with or without `lp_`. Default: the default one.
    #[serde(default)]
    pub provider: Option<String>,
    /// Whether the step does anything in a nested workflow. Default: `true`.
    #[serde(default = "written::yes")]
    pub execute_on_sub_workflow: bool,
}

impl AcquireLockStep {
    /// Takes these keys for so long, for the run's owner, trying once.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput::NoKeys`] or [`InvalidInput::Key`] for the keys.
    /// - [`InvalidInput::Expiry`] for a `ttl` of zero, or one that is too long.
    pub fn new(keys: impl IntoKeys, ttl: Duration) -> Result<Self, InvalidInput> {
        Ok(Self {
            keys: keys.into_keys()?,
            ttl: Expiry::new(ttl)?,
            timeout: Duration::ZERO,
            retry_interval: written::retry_interval::default(),
            owner: None,
            provider: None,
            execute_on_sub_workflow: true,
        })
    }

    /// The same with a [timeout](Self::timeout).
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The same with a [retry interval](Self::retry_interval).
    #[must_use]
    pub fn with_retry_interval(self, retry_interval: Duration) -> Self {
        Self { retry_interval, ..self }
    }

    /// The same for another [owner](Self::owner) than the run's.
    #[must_use]
    pub fn with_owner(self, owner: OwnerId) -> Self {
        Self { owner: Some(owner), ..self }
    }

    /// The same at another [provider](Self::provider) than the default one.
    #[must_use]
    pub fn with_provider(self, provider: impl Into<String>) -> Self {
        Self { provider: Some(provider.into()), ..self }
    }

    /// The same, and whether it does anything in a nested workflow.
    #[must_use]
    pub fn with_execute_on_sub_workflow(self, execute: bool) -> Self {
        Self { execute_on_sub_workflow: execute, ..self }
    }

    /// Takes the keys. Invoked again after a crash, an error or a drop, it doesn't wait for its earlier
    /// attempt: what that took is given back, and taken anew.
    ///
    /// # Errors
    ///
    /// - [`Error::Held`] if somebody else holds a key and there is no timeout; [`Error::TimedOut`] if
    ///   there is one.
    /// - [`Error::Unavailable`] or [`Error::CapacityExceeded`] if that was still so at the last attempt
    ///   before the deadline.
    /// - [`Error::UnknownOutcome`], at once: what may have been taken is given back in the background.
    ///   Also where what an earlier attempt took can't be given back by the deadline, and 2 s at least.
    /// - [`Error::InvalidInput`] before any I/O, for a timeout that is too long or a retry interval of
    ///   zero.
    /// - [`Error::Closed`] if the module is closed, also while it waits.
    /// - [`Error::Configuration`] if [`provider`](Self::provider) isn't configured.
    ///
    /// # Cancellation safety
    ///
    /// Dropped at any await point, what this attempt had taken is given back within 1 s of the store being
    /// reachable. What an earlier attempt took whose process died stays, for the next one or until its
    /// `ttl` is over.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn invoke(&self, module: &LockingModule, run: &WorkflowRun) -> Result<StepLease> {
        if run.is_nested() && !self.execute_on_sub_workflow {
            return Ok(StepLease::skipped());
        }
        let owner = self.owner.as_ref().unwrap_or(run.owner());
        let retry_interval = written::retry_interval::checked(self.retry_interval)?;
        let deadline = Wait::For(self.timeout).deadline()?.instant().unwrap_or_else(Instant::now);
        loop {
            let lease = self.ask_until(deadline, retry_interval, module, owner).await?;
            let Some(left_behind) = run.left_behind(&lease) else { return Ok(lease.into()) };
            // That attempt may still be about to be taken back, however late: by the name and the token
            // under which it asked. Nothing was done under them yet, so they are given up.
            self.give_up(left_behind, deadline, module, &lease.provider).await?;
        }
    }

    /// Asks until the store has an answer, or the deadline is too near to ask again.
    async fn ask_until(
        &self,
        deadline: Instant,
        retry_interval: Duration,
        module: &LockingModule,
        owner: &OwnerId,
    ) -> Result<Lease> {
        let left = || deadline.saturating_duration_since(Instant::now());
        loop {
            match self.ask(left(), module, owner).await {
                Err(error) if is_passing(&error) && retry_interval < left() => {
                    tracing::debug!(
                        provider = error.provider().map(tracing::field::display), keys = ?self.keys, %owner,
                        error = %WithCauses::of(&error), after = ?retry_interval, "lock is asked for again"
                    );
                    sleep(retry_interval).await;
                }
                // At the last moment it asks without waiting.
                Err(Error::Held { provider, key }) if !self.timeout.is_zero() => {
                    return Err(Error::timed_out(&provider, key));
                }
                answer => return answer,
            }
        }
    }

    async fn ask(&self, wait: Duration, module: &LockingModule, owner: &OwnerId) -> Result<Lease> {
        let mut acquire = module.acquire(&self.keys).owner(owner).expire(self.ttl.get()).wait(wait);
        if let Some(provider) = &self.provider {
            acquire = acquire.provider(provider);
        }
        acquire.await
    }

    /// Gives back what an earlier attempt took, and what was taken with it now: also if the caller is
    /// dropped, or the store doesn't answer in time.
    async fn give_up(
        &self,
        lease: StepLease,
        deadline: Instant,
        module: &LockingModule,
        provider: &ProviderId,
    ) -> Result<()> {
        let (module, mut backoff) = (module.clone(), Backoff::default());
        let ended = Instant::now() + self.ttl.get();
        let giving_up = tokio::spawn(async move {
            loop {
                match lease.compensate(&module).await {
                    Err(error) if error.is_retryable() && Instant::now() < ended => {
                        sleep(backoff.next_delay()).await;
                    }
                    answer => return answer,
                }
            }
        });
        match timeout_at(deadline.max(Instant::now() + PATIENCE), giving_up).await {
            Ok(Ok(answer)) => answer.map(drop),
            _ => Err(Error::unknown_outcome(
                provider,
                "what an earlier attempt took can't be given back yet",
            )
            .about(&self.keys)),
        }
    }
}

/// For how long a step that doesn't wait for its keys waits for the store.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether nothing was taken and the store may answer later. Not so where the outcome is unknown: what
/// may have been taken is being given back under the same owner, who would only enter it again.
fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Unavailable { .. } | Error::CapacityExceeded { .. })
}
