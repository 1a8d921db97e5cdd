use std::fmt;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use async_trait::async_trait;

use crate::capabilities::{Capabilities, Capability};
use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::info::LockInfo;
use crate::key::LockKey;
use crate::key_set::KeySet;
use crate::lease::Lease;
use crate::owner::OwnerId;
use crate::provider_id::ProviderId;
use crate::request::{AcquireRequest, ReleaseScope};
use crate::time::Expiry;

/// What stores the locks: the contract between the lock module and a store.
///
/// Eight methods are required. What all providers share is built once on top of them, in the
/// module: guards and their renewal, jobs, configuration, spans, draining. Whether an
/// implementation keeps the contract is what the suite in `locking-testkit` finds out.
///
/// # Contract
///
/// For every method:
///
/// - It is safe to call from any number of tasks and processes at once.
/// - Its future may be dropped at any await point. What the call had taken is then given back
///   within 1 s, without any help of the dropped caller, as soon as the store can be reached. No
///   waiter, no pooled connection and no task stays behind.
/// - The server's clock alone decides when a lease ends. An expired hold counts as free everywhere:
///   it blocks nobody, is not re-entered, released, extended or listed.
/// - An error other than [`Error::UnknownOutcome`] means that the call changed nothing that lasts.
/// - A hold of a guard ([`Hold::Guard`](crate::Hold::Guard)) and one of `acquire` exclude each other.
#[async_trait]
pub trait LockingProvider: fmt::Debug + Send + Sync + 'static {
    /// The id under which this provider is configured.
    ///
    /// # Contract
    ///
    /// It never changes; every lease and every error of this provider carries it.
    fn id(&self) -> &ProviderId;

    /// What this provider promises beyond the baseline.
    ///
    /// # Contract
    ///
    /// It never changes, and every claim is true.
    fn capabilities(&self) -> Capabilities;

    /// Takes all keys of the request, or none.
    ///
    /// # Contract
    ///
    /// - A key that is free or expired is granted with a token greater than every token that it
    ///   ever had. A token is drawn when the key is owned, never before.
    /// - A key held by a *lease* of the same owner is re-entered: same token, marked as not taken. A
    ///   longer expiry extends it once all others are taken; a shorter or absent one changes
    ///   nothing. Guards and anonymous holds are never re-entered.
    /// - When an owner's lease is granted a key, that owner's other waiting lease requests for the
    ///   key are granted with it.
    /// - Otherwise it waits until [`AcquireRequest::wait`]; [`acquire_by_polling`] does that for a
    ///   store without waiting of its own. A waiter gets a key within 1 s of its release or expiry.
    ///
    /// [`acquire_by_polling`]: crate::acquire_by_polling
    ///
    /// # Errors
    ///
    /// - [`Error::Held`] at once, when the request doesn't wait, naming the first blocking key.
    /// - [`Error::TimedOut`] at most 50 ms after the deadline.
    /// - [`Error::Unavailable`], [`Error::UnknownOutcome`] or [`Error::CapacityExceeded`] by the
    ///   deadline if the store can't be reached, didn't answer, or is full.
    /// - [`Error::Closed`] if this client was closed, also while the request waits.
    async fn acquire(&self, request: AcquireRequest) -> Result<Grant>;

    /// Sets the remaining time of every key of a lease, re-entered ones too. It may shorten.
    ///
    /// # Contract
    ///
    /// All keys or none: if one of them is no longer held under the lease's owner and token,
    /// nothing changes. A waiter of a key whose time was shortened gets it at the new expiry.
    ///
    /// # Errors
    ///
    /// - [`Error::Lost`] with the first key in byte order that is no longer held by this lease; with
    ///   [`LossReason::Expired`](crate::LossReason::Expired) where the store doesn't know better.
    /// - [`Error::Unavailable`], [`Error::UnknownOutcome`] or [`Error::CapacityExceeded`] if the store
    ///   didn't answer, or is full.
    /// - [`Error::Closed`] if this client was closed.
    async fn extend(&self, lease: &Lease, expiry: Expiry) -> Result<()>;

    /// Gives back the keys that this owner holds by leases; without an owner, those that any
    /// anonymous lease holds. Answers whether that was every key.
    ///
    /// # Contract
    ///
    /// It tries every key, and never frees another owner's, an owned one when no owner is given,
    /// or a guard's. A key that isn't held makes the answer `false`; it is no error.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`], [`Error::UnknownOutcome`] or [`Error::CapacityExceeded`] if the store
    ///   didn't answer, or is full.
    /// - [`Error::Closed`] if this client was closed.
    async fn release(&self, keys: KeySet, owner: Option<OwnerId>) -> Result<bool>;

    /// Gives back exactly the holds that this lease took, and no successor's.
    ///
    /// # Contract
    ///
    /// It tries every *taken* key and compares owner and token. Re-entered keys stay. Doing it
    /// twice does no harm: the second time nothing is held.
    ///
    /// # Errors
    ///
    /// - [`Error::Lost`] with the first taken key in byte order that this lease no longer held; the
    ///   others were given back.
    /// - [`Error::Unavailable`], [`Error::UnknownOutcome`] or [`Error::CapacityExceeded`] if the store
    ///   didn't answer, or is full.
    async fn release_lease(&self, lease: &Lease) -> Result<()>;

    /// Frees every hold in the scope and answers how many keys that were.
    ///
    /// # Contract
    ///
    /// - It never frees a key that changed hands during the call.
    /// - Guards that are freed learn it by their [`LossSignal`](crate::LossSignal) where the store
    ///   can tell their process, else at their next renewal.
    /// - With an owner, its cost grows with what it frees rather than with what else is held, as
    ///   far as the store allows.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`], [`Error::UnknownOutcome`] or [`Error::CapacityExceeded`] if the store
    ///   didn't answer, or is full.
    /// - [`Error::Closed`] if this client was closed.
    async fn release_all(&self, scope: ReleaseScope) -> Result<u64>;

    /// Stops granting to this client, and ends its connections and tasks.
    ///
    /// # Contract
    ///
    /// - Requests that still wait fail with [`Error::Closed`], and so does every later call; only
    ///   [`release_lease`](Self::release_lease) may still be carried out.
    /// - What an acquisition that is under way still takes is given back.
    /// - Leases stay. A second close does nothing. Other clients of the store are not touched.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if a connection couldn't be ended in good order; it is gone all the
    /// same.
    async fn close(&self) -> Result<()>;

    /// How long guards and jobs wait when they don't say. Default: 5 s.
    ///
    /// # Contract
    ///
    /// It never changes, and is at most [`Wait::MAX`](crate::Wait::MAX).
    fn wait_locking_timeout(&self) -> Duration {
        Duration::from_secs(5)
    }

    /// Begins what [`acquire`](Self::acquire) does, for a store where that may take no I/O and no wait: then it
    /// answers at once, and nothing is allocated for a future. Default: the future of `acquire`.
    ///
    /// The module acquires by it, when its own future is polled for the first time.
    ///
    /// # Contract
    ///
    /// - It neither blocks nor waits.
    /// - It and its future keep all that [`acquire`](Self::acquire) promises. What it answers has reached its
    ///   caller, as an answer of that future has; what the future takes is given back if it is dropped before.
    /// - `context` is that of the task that asks. Who answers [`Begun::Waiting`] wakes it as the future would that
    ///   was polled with it.
    /// - Whoever writes `acquire` in terms of it writes it, too: the default asks `acquire`.
    fn begin_acquire(
        &self,
        request: AcquireRequest,
        context: &mut Context<'_>,
    ) -> Begun<'_, Grant> {
        let _ = context;
        Begun::Asked(self.acquire(request))
    }

    /// Begins what [`release`](Self::release) does, as [`begin_acquire`](Self::begin_acquire) begins an
    /// acquisition. Default: the future of `release`.
    ///
    /// # Contract
    ///
    /// - It neither blocks nor waits.
    /// - It and its future keep all that [`release`](Self::release) promises.
    fn begin_release(&self, keys: &KeySet, owner: Option<&OwnerId>) -> Begun<'_, bool> {
        Begun::Asked(self.release(keys.clone(), owner.cloned()))
    }

    /// What [`release_lease`](Self::release_lease) does, at once, for a store where that takes no
    /// I/O. `None`, the default: it takes some, and nothing was done.
    ///
    /// Guards are given back by it; where it answers `None`, by
    /// [`release_lease`](Self::release_lease), in the background if the guard is dropped.
    ///
    /// # Contract
    ///
    /// It neither blocks nor needs a runtime.
    fn release_now(&self, lease: &Lease) -> Option<Result<()>> {
        let _ = lease;
        None
    }

    /// Whether [`end_waits`](Self::end_waits) ends them. Default: no; then a module that is being
    /// closed drops the futures of the requests that wait, and each has to register with it.
    ///
    /// # Contract
    ///
    /// - It never changes.
    /// - Whoever answers `true` names the keys of a failed acquisition or release in the error ([`Error::about`]). For
    ///   others the module does, which keeps a copy of them meanwhile.
    /// - And grants nothing more once `end_waits` has returned: a close doesn't wait for what
    ///   [`begin_acquire`](Self::begin_acquire) answers at once.
    fn ends_waits(&self) -> bool {
        false
    }

    /// The first part of a close, for a store where it takes no I/O: requests that wait fail with
    /// [`Error::Closed`], and so do later ones. What is held can still be extended and given back.
    ///
    /// # Contract
    ///
    /// It neither blocks nor needs a runtime, and a request that is under way meanwhile is granted its keys before it
    /// returns, or not at all. A second call does nothing.
    fn end_waits(&self) {}

    /// Who holds a key; `None` if nobody does.
    ///
    /// # Contract
    ///
    /// - It tells one holder: owner, token and kind are those of one hold. It is the one that there was at some
    ///   moment of the call; where a key is passed on inside another process, it may be one before that for a
    ///   moment, and this client's own are always told as they are.
    /// - An expired hold isn't told. How many wait is told where the store knows.
    /// - It changes nothing, so no outcome is left open: the module makes [`Error::UnknownOutcome`] of it
    ///   [`Error::Unavailable`].
    ///
    /// # Errors
    ///
    /// - [`Error::Unsupported`], the default, without [`Capability::Lists`].
    /// - [`Error::Unavailable`] or [`Error::UnknownOutcome`] if the store didn't answer.
    /// - [`Error::Closed`] if this client was closed.
    async fn inspect(&self, key: &LockKey) -> Result<Option<LockInfo>> {
        let _ = key;
        Err(Error::unsupported(self.id(), Capability::Lists))
    }

    /// Who holds what, in the byte order of the keys.
    ///
    /// # Contract
    ///
    /// - Each hold is told as by [`inspect`](Self::inspect); those that come or go during the call may be told or not.
    /// - All holds of the store are told, whoever made them, not those of this client alone.
    ///
    /// # Errors
    ///
    /// - [`Error::Unsupported`], the default, without [`Capability::Lists`].
    /// - [`Error::Unavailable`] or [`Error::UnknownOutcome`] if the store didn't answer.
    /// - [`Error::Closed`] if this client was closed.
    async fn list(&self) -> Result<Vec<LockInfo>> {
        Err(Error::unsupported(self.id(), Capability::Lists))
    }

    /// Brings the store's tables up to date. Default: there are none.
    ///
    /// # Contract
    ///
    /// Any number of processes may do it at once, and again.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`] or [`Error::UnknownOutcome`] if the store didn't answer, or is busy.
    /// - [`Error::Configuration`] if the user may not, or if what is there isn't the provider's own.
    /// - [`Error::Closed`] if this client was closed.
    async fn migrate(&self) -> Result<()> {
        Ok(())
    }
}

/// What came of a call that a provider has begun: [`LockingProvider::begin_acquire`],
/// [`LockingProvider::begin_release`].
#[must_use = "what was done stays done, and what wasn't may not be"]
#[non_exhaustive]
pub enum Begun<'a, T> {
    /// It is answered.
    Answered(Result<T>),
    /// The future gives the answer.
    Asked(Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>),
    /// The future gives the answer, and is pending: it needn't be polled before the task is woken with whose context
    /// the call began. To poll it does no harm.
    Waiting(Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>),
}

impl<T> Begun<'_, T> {
    /// The answer, whenever it comes. For a provider whose own method does what its `begin_` method does.
    ///
    /// # Errors
    ///
    /// Those of the call.
    pub async fn answer(self) -> Result<T> {
        match self {
            Self::Answered(result) => result,
            Self::Asked(call) | Self::Waiting(call) => call.await,
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Begun<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(result) => f.debug_tuple("Answered").field(result).finish(),
            Self::Asked(_) => f.debug_tuple("Asked").finish_non_exhaustive(),
            Self::Waiting(_) => f.debug_tuple("Waiting").finish_non_exhaustive(),
        }
    }
}
