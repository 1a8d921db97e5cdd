//! What becomes of a lease on the lines' store: extended, given back, passed on.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::ask::AskId;
use super::background;
use super::held::{PASSES, Standing};
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

    /// Gives back what a lease took: [`LockingProvider::release_lease`], whole; or gives it to the next in
    /// line, where nobody else waits at the store. An answer that was lost is asked for again, for as long
    /// as the store's [patience](LineStore::patience) lasts.
    ///
    /// # Errors
    ///
    /// Those of [`LockingProvider::release_lease`].
    ///
    /// [`LockingProvider::release_lease`]: crate::LockingProvider::release_lease
    pub async fn release_lease(self: &Arc<Self>, lease: &Lease) -> Result<()> {
        let (Standing::AtStore(origin), mut turn) = self.end(lease) else {
            return Err(self.superseded(lease, LossReason::Released));
        };
        let ending = Ending { lines: self, lease, has_ended: false };
        // A close waits: what the store keeps for another turn is to be given back before. One that
        // doesn't see this is seen here.
        let _under_way = turn.is_some().then(|| self.tasks.begin());
        turn.take_if(|_| self.is_closed());
        let give_up = Instant::now() + self.store().patience();
        let mut backoff = Backoff::default();
        let (mut unknown, mut was_kept) = (None, false);
        loop {
            let turn = turn.take();
            let answer = match &turn {
                Some(turn) => self.turn_again(lease, turn).await,
                None => self.store().release_lease(lease, origin.as_ref()).await.map(|()| true),
            };
            match answer {
                Ok(true) => {
                    ending.has_ended();
                    return Ok(());
                }
                Ok(false) => was_kept = true,
                // To give it back takes no room.
                Err(Error::CapacityExceeded { .. }) if turn.is_some() => {}
                // It was held when its work was done.
                Err(Error::Lost { .. }) if was_kept => {
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

    /// Gives a guard back, or to the next in line where nobody else waits at the store. Answers whether
    /// either was done; if not, the store has kept it for nobody.
    ///
    /// Asked once: with an answer missing it may still be given back at any time, and is passed on no more.
    async fn turn_again(self: &Arc<Self>, lease: &Lease, turn: &Turn) -> Result<bool> {
        let (asked, Turn { origin, expiry }) = (Moment::now(), turn);
        let kept = self.store().release_or_keep(lease, origin, *expiry, PASSES).await?;
        let Some(first) = kept else { return Ok(true) };
        if self.is_closed() {
            return Ok(false);
        }
        let (key, spare) = (&lease.keys()[0].key, first.get()..first.get() + PASSES);
        Ok(self.with(key, |queue| {
            let held = queue.held.as_mut().filter(|held| held.origin == *origin);
            let Some(held) = held else { return false };
            held.turn_again(asked, spare);
            let passed = queue.pass_on(self.store().id(), key);
            if passed {
                self.ensure_agent(key, queue);
            } else if let Some(held) = &mut queue.held {
                // It is given back all the same.
                held.end();
            }
            passed
        }))
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
        let (Standing::AtStore(origin), _) = self.end(&lease) else { return };
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

    /// The lease is about to be given back: from here on it isn't passed on any more, unless it has another
    /// turn. Answers what it is to the lines, and the turn that it could have.
    fn end(&self, lease: &Lease) -> (Standing, Option<Turn>) {
        let (mut standing, mut turn) = (Standing::AtStore(None), None);
        for leased in lease.keys() {
            self.with(&leased.key, |queue| {
                let may_turn = queue.may_turn();
                let Some(held) = &mut queue.held else { return };
                standing = held.standing(leased.token);
                if let Standing::AtStore(Some(origin)) = &standing {
                    let (origin, expiry) = (origin.clone(), held.expiry);
                    turn = may_turn.then_some(Turn { origin, expiry });
                    held.end();
                }
            });
        }
        if lease.keys().len() == 1 { (standing, turn) } else { (Standing::AtStore(None), None) }
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

/// Another turn of a guard inside the process, as the store is asked for it.
struct Turn {
    /// The ask to which the store granted it.
    origin: AskId,
    expiry: Option<Expiry>,
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
