//! What applications call.

mod acquire;
mod builder;
mod call;
mod execute;
mod extend;
mod inspect;
mod lock;
mod release;
mod release_all;
mod target;
mod unless_lost;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::field::Empty;

pub use self::acquire::{Acquire, AcquireFuture};
pub use self::builder::LockingModuleBuilder;
use self::call::traced;
pub use self::execute::Execute;
pub use self::extend::Extend;
pub use self::inspect::{Inspect, List};
pub use self::lock::Lock;
pub use self::release::{Release, ReleaseFuture, ReleaseLease};
pub use self::release_all::ReleaseAll;
use self::target::{Target, Targets};
use crate::capabilities::Capabilities;
use crate::closing::Closing;
use crate::config::LockingConfig;
use crate::error::{Error, Result};
use crate::guard::{GuardState, Keepers, LockContext};
use crate::key_set::IntoKeys;
use crate::lease::{Lease, lease_event};
use crate::loss::LossReason;
use crate::provider::LockingProvider;
use crate::provider_id::ProviderId;
use crate::with_causes::WithCauses;

/// The future of a call, as `.await` makes it.
pub type CallFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// The locking module: `execute`, `acquire`, `release`, `release_all` over the configured
/// providers.
///
/// Every call is a builder that runs when it is awaited, and picks the default provider unless
/// `.provider("…")` names another. Cloning the module is cheap; the clones are one module.
///
/// ```
/// # use locking_core::*;
/// # use std::time::Duration;
/// # async fn example(module: LockingModule) -> Result<()> {
/// let lease = module
///     .acquire("prod_123")
///     .owner("user_123")
///     .expire(Duration::from_secs(60))
///     .wait(Duration::from_secs(2))
///     .await?;
/// assert!(module.release("prod_123").owner("user_123").await?);
///
/// let left = module.execute("prod_123", |lock| async move { lock.expires_in() }).await?;
/// # Ok(()) }
/// ```
///
/// Every future of this module may be dropped at any await point: what it had taken is given back
/// within a second.
#[derive(Clone)]
pub struct LockingModule(Arc<Inner>);

struct Inner {
    targets: Targets,
    keepers: Keepers,
    closing: Arc<Closing>,
}

impl LockingModule {
    /// Starts the module that a configuration describes, with the providers linked into this
    /// program.
    ///
    /// # Errors
    ///
    /// - [`Error::Configuration`] for every mistake in it.
    /// - [`Error::Unavailable`] or [`Error::UnknownOutcome`] if a provider needs its store to start,
    ///   and it can't be reached or doesn't answer.
    ///
    /// # Cancellation safety
    ///
    /// Dropped at any await point, the connections that were made are ended in the background.
    pub async fn new(config: LockingConfig) -> Result<Self> {
        Self::builder(config).build().await
    }

    /// The same, with more to say than the configuration does.
    pub fn builder(config: LockingConfig) -> LockingModuleBuilder {
        LockingModuleBuilder::new(config)
    }

    /// A module over one provider that the program made itself; its id names it. The short way where it is
    /// the only one: [`LockingModuleBuilder::provider`] puts it next to others.
    #[must_use]
    pub fn with_provider(provider: Arc<dyn LockingProvider>) -> Self {
        Self::over(Targets::single(provider))
    }

    fn over(targets: Targets) -> Self {
        Self(Arc::new(Inner {
            targets,
            keepers: Keepers::default(),
            closing: Arc::new(Closing::default()),
        }))
    }

    /// Takes the keys and gives a lease, which belongs to no process: it ends by its release or,
    /// with [`expire`](Acquire::expire), by its expiry. Doesn't wait unless asked to.
    ///
    /// A key held by the same [`owner`](Acquire::owner) is re-entered: same token, and a longer
    /// expiry extends it. There is no hold count.
    ///
    /// Its errors, and what dropping it does, are those of [`Acquire`].
    #[must_use = "nothing is acquired before it is awaited"]
    pub fn acquire(&self, keys: impl IntoKeys) -> Acquire<'_> {
        Acquire::new(self, keys.into_keys())
    }

    /// Gives keys back by name. Answers whether every one of them was held by that
    /// [`owner`](Release::owner); without one, by anybody's anonymous lease. Never frees anyone
    /// else's, nor a guard's. Its errors, and what dropping it does, are those of [`Release`].
    #[must_use = "nothing is released before it is awaited"]
    pub fn release(&self, keys: impl IntoKeys) -> Release<'_> {
        Release::new(self, keys.into_keys())
    }

    /// Gives back exactly what this lease took, and nothing that came after it. Answers whether
    /// all of it was still held. Its errors, and what dropping it does, are those of [`ReleaseLease`].
    #[must_use = "nothing is released before it is awaited"]
    pub fn release_lease<'a>(&'a self, lease: &'a Lease) -> ReleaseLease<'a> {
        ReleaseLease::new(self, lease)
    }

    /// Frees the leases of an [`owner`](ReleaseAll::owner), or without one every lease that
    /// `acquire` made. Answers how many keys that were. Its errors, and what dropping it does, are those of
    /// [`ReleaseAll`].
    #[must_use = "nothing is released before it is awaited"]
    pub fn release_all(&self) -> ReleaseAll<'_> {
        ReleaseAll::new(self)
    }

    /// Sets the remaining time of a lease that is still held, from now on: more than zero, at most
    /// 36,525 days. It may shorten. Its errors, and what dropping it does, are those of [`Extend`].
    #[must_use = "nothing is extended before it is awaited"]
    pub fn extend<'a>(&'a self, lease: &'a Lease, remaining: Duration) -> Extend<'a> {
        Extend::new(self, lease, remaining)
    }

    /// Takes the keys and gives a guard: kept alive in the background, given back when dropped.
    /// Waits for the provider's `wait_locking_timeout` (5 s) unless
    /// [`timeout`](Lock::timeout) says otherwise. Its errors, and what dropping it does, are those of
    /// [`Lock`].
    #[must_use = "nothing is locked before it is awaited"]
    pub fn lock(&self, keys: impl IntoKeys) -> Lock<'_> {
        Lock::new(self, keys.into_keys())
    }

    /// Runs a job while holding the keys, and gives them back however it ends.
    ///
    /// `job` receives a [`LockContext`] and gives a future; that future's output, also where it is
    /// a `Result` of its own, is what the call answers. It is never re-entrant: executing inside an
    /// execution on the same key times out.
    ///
    /// Waits and is renewed as [`lock`](Self::lock) is. Its errors, and what dropping it does, are those
    /// of [`Execute`].
    #[must_use = "nothing runs before it is awaited"]
    pub fn execute<F, Fut>(&self, keys: impl IntoKeys, job: F) -> Execute<'_, F>
    where
        F: FnOnce(LockContext) -> Fut + Send,
        Fut: Future + Send,
        Fut::Output: Send,
    {
        Execute::new(self.lock(keys), job)
    }

    /// Who holds a key; `None` if nobody does. Its errors are those of [`Inspect`].
    #[must_use = "nothing is asked before it is awaited"]
    pub fn inspect(&self, key: impl AsRef<str>) -> Inspect<'_> {
        Inspect::new(self, key.as_ref())
    }

    /// Who holds what, in the byte order of the keys. Its errors are those of [`List`].
    #[must_use = "nothing is asked before it is awaited"]
    pub fn list(&self) -> List<'_> {
        List::new(self)
    }

    /// Brings the tables of every configured provider up to date. Any number of processes may do it
    /// at once, and again.
    ///
    /// # Errors
    ///
    /// Those of the first provider that fails; the ones after it are left as they are.
    ///
    /// - [`Error::Unavailable`] or [`Error::UnknownOutcome`] if its store didn't answer, or was busy with
    ///   the tables for too long.
    /// - [`Error::Configuration`] if its user may not make tables, or if what is there isn't its own.
    /// - [`Error::Closed`] if the provider is closed.
    ///
    /// # Cancellation safety
    ///
    /// Dropped at any await point, a provider's tables are up to date or as they were; call it again to go
    /// on.
    pub async fn migrate(&self) -> Result<()> {
        for target in self.0.targets.iter() {
            let span =
                tracing::debug_span!("locking.migrate", provider = %target.id(), outcome = Empty);
            traced(span, target.provider().migrate()).await?;
        }
        Ok(())
    }

    /// Drains the module: stops granting, wakes every waiter with [`Error::Closed`], waits for at
    /// most `within` until every call that waits for keys is answered, guards and jobs have ended and
    /// their keys are given back, then marks the rest lost, cancels their jobs, gives their keys back,
    /// and ends the providers' connections. Leases made by `acquire` stay.
    ///
    /// A call is answered when it is polled: one that waits and is neither polled nor dropped costs
    /// the whole of `within`, and what it was granted may stay held until its expiry.
    ///
    /// Answers how many guards and jobs it had to break. Dropped half way, granting stays stopped;
    /// call it again to go on.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if a provider's connections couldn't be ended in good order, or something asked for
    /// couldn't be taken back in time: that goes on in the background for some minutes, as long as the runtime lives.
    ///
    /// # Panics
    ///
    /// Awaited outside a tokio runtime with its timer enabled.
    pub async fn close(&self, within: Duration) -> Result<usize> {
        let span = tracing::debug_span!("locking.close", ?within, broken = Empty, outcome = Empty);
        let told = span.clone();
        let closing = async move {
            let closed = self.drain(within).await;
            if let Ok(broken) = closed {
                told.record("broken", broken);
            }
            closed
        };
        traced(span, Box::pin(closing)).await
    }

    async fn drain(&self, within: Duration) -> Result<usize> {
        let Inner { targets, keepers, closing } = &*self.0;
        closing.begin();
        targets.iter().for_each(|target| target.provider().end_waits());
        let drained = closing.until(|| closing.all_are_answered() && keepers.are_drained());
        let broken = match timeout(within, drained).await {
            Ok(()) => 0,
            Err(_) => break_guards(keepers.guards()).await,
        };
        if broken > 0 {
            tracing::warn!(broken, "closed while locks were in use: they are marked lost");
        }
        let mut closed = Ok(());
        for target in targets.iter() {
            closed = closed.and(target.provider().close().await);
        }
        closed.map(|()| broken)
    }

    /// What the default provider promises beyond the baseline.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.default_target().provider().capabilities()
    }

    /// What a provider promises beyond the baseline, by its id or identifier.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if it isn't configured.
    pub fn capabilities_of(&self, provider: &str) -> Result<Capabilities> {
        Ok(self.target(provider)?.provider().capabilities())
    }

    /// The ids of the configured providers; the first one is the default.
    #[must_use]
    pub fn providers(&self) -> Vec<ProviderId> {
        self.0.targets.ids()
    }

    fn closing(&self) -> &Arc<Closing> {
        &self.0.closing
    }

    fn keepers(&self) -> &Keepers {
        &self.0.keepers
    }

    fn default_target(&self) -> &Target {
        self.0.targets.default()
    }

    fn target(&self, name: &str) -> Result<&Target> {
        self.0.targets.find(name)
    }
}

impl fmt::Debug for LockingModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockingModule")
            .field("providers", &self.providers())
            .finish_non_exhaustive()
    }
}

/// How long a close waits for a store to answer for a lock that it broke.
const BREAKING: Duration = Duration::from_secs(2);

/// Marks guards lost, which cancels their jobs, and gives their keys back.
async fn break_guards(guards: Vec<Arc<GuardState>>) -> usize {
    let (mut releases, mut broken) = (JoinSet::new(), HashMap::new());
    for guard in guards {
        // One that was lost before stays lost for that.
        guard.loss.signal(guard.loss_reason().unwrap_or(LossReason::Closed));
        guard.end();
        let release = releases.spawn(release_broken(Arc::clone(&guard)));
        broken.insert(release.id(), guard);
    }
    while let Some(released) = releases.join_next_with_id().await {
        let (task, error) = match released {
            Ok((_, Ok(()))) => continue,
            Ok((task, Err(error))) => (task, error),
            Err(panic) => (panic.id(), panic.to_string()),
        };
        lease_event!(warn, broken[&task].lease, error, "a broken lock ends by its expiry");
    }
    broken.len()
}

/// Answers why its keys couldn't be given back.
async fn release_broken(guard: Arc<GuardState>) -> Result<(), String> {
    let released = timeout(BREAKING, guard.provider.release_lease(&guard.lease)).await;
    guard.note_broken();
    match released {
        Ok(Ok(()) | Err(Error::Lost { .. })) => Ok(()),
        Ok(Err(error)) => Err(WithCauses::of(&error).to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}
