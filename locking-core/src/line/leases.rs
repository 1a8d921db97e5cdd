//! What becomes of a lease on the lines' store: extended, given back, passed on.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::background;
use super::held::Standing;
use super::lines::Lines;
use super::store::LineStore;
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::info::LockInfo;
use crate::lease::Lease;
use crate::loss::LossReason;
use crate::moment::Moment;
use crate::time::Expiry;

impl<S: LineStore> Lines<S> {
    /// Sets the remaining time of a lease: [`LockingProvider::extend`], whole. An answer that was lost is
    /// asked for again, for as long as the store's [patience](LineStore::patience) lasts.
    ///
    /// # Errors
    ///
    /// Those of [`LockingProvider::extend`].
    ///
    /// [`LockingProvider::extend`]: crate::LockingProvider::extend
    pub async fn extend(&self, lease: &Lease, expiry: Expiry) -> Result<()> {
        let give_up = Instant::now() + self.store().patience();
        let mut backoff = Backoff::default();
        loop {
            let Standing::AtStore(origin) = self.keep(lease) else {
                return Err(self.superseded(lease, LossReason::Expired));
            };
            let asked = Moment::now();
            match self.store().extend(lease, expiry, origin.as_ref()).await {
                Ok(()) => {
                    self.extended(lease, asked, expiry);
                    return Ok(());
                }
                Err(error @ Error::Lost { .. }) => {
                    // It isn't passed on any more either.
                    self.ended(lease);
                    return Err(error);
                }
                // Setting the time twice is setting it once.
                Err(Error::UnknownOutcome { .. }) if Instant::now() < give_up => {
                    sleep(backoff.next_delay()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives back what a lease took: [`LockingProvider::release_lease`], whole. From the call on it isn't
    /// passed on any more. An answer that was lost is asked for again, for as long as the store's
    /// [patience](LineStore::patience) lasts.
    ///
    /// # Errors
    ///
    /// Those of [`LockingProvider::release_lease`].
    ///
    /// [`LockingProvider::release_lease`]: crate::LockingProvider::release_lease
    pub async fn release_lease(self: &Arc<Self>, lease: &Lease) -> Result<()> {
        let Standing::AtStore(origin) = self.end(lease) else {
            return Err(self.superseded(lease, LossReason::Released));
        };
        let ending = Ending { lines: self, lease, has_ended: false };
        let give_up = Instant::now() + self.store().patience();
        let mut backoff = Backoff::default();
        let mut unknown = None;
        loop {
            match self.store().release_lease(lease, origin.as_ref()).await {
                Ok(()) => {
                    ending.has_ended();
                    return Ok(());
                }
                Err(error @ Error::UnknownOutcome { .. }) if Instant::now() < give_up => {
                    unknown = Some(error);
                    sleep(backoff.next_delay()).await;
                }
                Err(error @ Error::Lost { .. }) => {
                    ending.has_ended();
                    // The earlier try, whose answer was lost, may have been the one that freed it.
                    return Err(unknown.unwrap_or(error));
                }
                Err(error) => {
                    let closed = self.is_closed().then(|| Error::closed(self.store().id()));
                    return Err(closed.or(unknown).unwrap_or(error));
                }
            }
        }
    }

    /// Gives a guard's key to the next in line without the store, where that may be. Answers whether
    /// it did: then the lease is over. It neither blocks nor needs a runtime.
    pub fn pass_on(self: &Arc<Self>, lease: &Lease) -> bool {
        let [leased] = lease.keys() else { return false };
        if self.is_closed() {
            return false;
        }
        self.with(&leased.key, |queue| {
            let held = queue.held.as_ref();
            if held.is_none_or(|held| held.token() != leased.token) {
                return false;
            }
            let passed = queue.pass_on(self.store().id(), &leased.key);
            if passed {
                self.ensure_agent(&leased.key, queue);
            }
            passed
        })
    }

    /// What the store said of a hold that it granted to the ask `origin`, with the truth about it where it is
    /// a guard of this client that was passed on since the store was told.
    #[must_use]
    pub fn named(&self, info: LockInfo, origin: &str) -> LockInfo {
        let now = self.with(&info.key, |queue| {
            let held = queue.held.as_ref().filter(|held| held.origin.as_str() == origin)?;
            Some(held.lease(self.store().id(), &info.key))
        });
        let Some(lease) = now else { return info };
        let mut named = LockInfo::new(info.key, lease.token(), info.kind);
        named.expires_in = info.expires_in;
        named.with_owner(lease.owner)
    }

    /// Gives back, without the caller, what it was granted and didn't hear of.
    pub(super) fn discard(self: &Arc<Self>, lease: Lease) {
        if self.pass_on(&lease) {
            return;
        }
        let Standing::AtStore(origin) = self.end(&lease) else { return };
        let lines = Arc::clone(self);
        self.spawn(async move {
            background::release_lease(&lines, &lease, origin.as_ref()).await;
            lines.ended(&lease);
        });
    }

    /// The store is about to set the lease's time, maybe to less than whoever it is passed on to would believe
    /// in: from here on it isn't passed on any more. Answers what it is to the lines.
    fn keep(&self, lease: &Lease) -> Standing {
        let [leased] = lease.keys() else { return Standing::AtStore(None) };
        self.with(&leased.key, |queue| {
            let Some(held) = &mut queue.held else { return Standing::AtStore(None) };
            let standing = held.standing(leased.token);
            if matches!(standing, Standing::AtStore(Some(_))) {
                held.keep();
            }
            standing
        })
    }

    /// The lease is about to be given back: from here on it isn't passed on any more. Answers what it is
    /// to the lines.
    fn end(&self, lease: &Lease) -> Standing {
        let mut standing = Standing::AtStore(None);
        for leased in lease.keys() {
            self.with(&leased.key, |queue| {
                let Some(held) = &mut queue.held else { return };
                standing = held.standing(leased.token);
                if matches!(standing, Standing::AtStore(Some(_))) {
                    held.end();
                }
            });
        }
        if lease.keys().len() == 1 { standing } else { Standing::AtStore(None) }
    }

    /// The store has answered that the lease is over: the lines forget it.
    fn ended(&self, lease: &Lease) {
        for leased in lease.keys() {
            self.with(&leased.key, |queue| {
                let ended = queue.held.take_if(|held| held.token() == leased.token);
                if ended.is_some_and(|held| held.forget_at().is_some()) {
                    queue.wake_agent();
                }
            });
        }
    }

    /// The store couldn't be told that the lease is over: the lines forget it when it has ended by itself.
    fn abandoned(self: &Arc<Self>, lease: &Lease) {
        for leased in lease.keys() {
            self.with(&leased.key, |queue| {
                let held = queue.held.as_mut().filter(|held| held.token() == leased.token);
                let Some(held) = held else { return };
                held.abandon();
                if self.is_closed() {
                    queue.held = None;
                } else {
                    self.ensure_agent(&leased.key, queue);
                }
            });
        }
    }

    /// The store has set the lease's time once more, counted from `asked`.
    fn extended(&self, lease: &Lease, asked: Moment, expiry: Expiry) {
        for leased in lease.keys() {
            self.with(&leased.key, |queue| {
                let held = queue.held.as_mut();
                if let Some(held) = held.filter(|held| held.token() == leased.token) {
                    held.extended(asked, expiry);
                }
            });
        }
    }

    fn superseded(&self, lease: &Lease, reason: LossReason) -> Error {
        Error::lost(self.store().id(), lease.keys()[0].key.clone(), reason)
    }
}

/// A lease that is being given back. Dropped before the store has answered that it is over, it is forgotten
/// when it has ended by itself.
struct Ending<'a, S: LineStore> {
    lines: &'a Arc<Lines<S>>,
    lease: &'a Lease,
    has_ended: bool,
}

impl<S: LineStore> Ending<'_, S> {
    fn has_ended(mut self) {
        self.lines.ended(self.lease);
        self.has_ended = true;
    }
}

impl<S: LineStore> Drop for Ending<'_, S> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.lines.abandoned(self.lease);
        }
    }
}
