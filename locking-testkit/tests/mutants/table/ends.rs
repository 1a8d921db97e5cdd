//! How the model's holds end, how their time is set, and what is told of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use locking_core::{
    Expiry, FencingToken, HoldKind, KeySet, Lease, LeasedKey, LockInfo, LockKey, LossReason,
    OwnerId, ReleaseScope,
};
use tokio::time::Instant;

use super::{Hold, Table, Waiter};
use crate::fault::Fault;
use crate::model::PAGE;

impl Table {
    /// The keys in a scope, whatever becomes of them.
    pub(crate) fn covered(&self, scope: &ReleaseScope) -> Vec<LockKey> {
        let covers = |hold: &&Hold| scope.covers(hold.owner.as_ref(), hold.kind());
        self.holds.values().filter(covers).map(|hold| hold.key.clone()).collect()
    }

    pub(crate) fn free(&mut self, keys: &[LockKey]) {
        for key in keys {
            self.holds.remove(key.as_str());
        }
        self.settle();
    }

    /// Whether leases of this owner hold all of these keys.
    pub(crate) fn are_leased_by(&self, keys: &KeySet, owner: Option<&OwnerId>) -> bool {
        let is_leased = |hold: &Hold| hold.guard.is_none() && hold.owner.as_ref() == owner;
        keys.iter().all(|key| self.hold(key).is_some_and(is_leased))
    }

    pub(crate) fn is_held(&self, lease: &Lease) -> bool {
        let is_held = |leased: &LeasedKey| {
            self.hold(&leased.key).is_some_and(|hold| hold.token == leased.token.get())
        };
        lease.keys().iter().all(is_held)
    }

    /// Sets the time of whoever holds these keys.
    pub(crate) fn set_expiry(
        &mut self,
        keys: &KeySet,
        expires: impl Fn(Option<Instant>) -> Option<Instant>,
    ) {
        for key in keys {
            if let Some(hold) = self.holds.get_mut(key.as_str()) {
                hold.expires = expires(hold.expires);
            }
        }
        self.tell_waiters();
    }

    /// Ends a client's leases before anybody else notices that it is gone.
    pub(crate) fn end_soon(&mut self, client: usize) {
        let end = Instant::now() + Duration::from_secs(2);
        let own = |hold: &&mut Hold| hold.client == client && hold.guard.is_none();
        for hold in self.holds.values_mut().filter(own) {
            hold.expires = Some(hold.expires.map_or(end, |at| at.min(end)));
        }
    }

    pub(crate) fn take_out(&mut self, lease: &Lease) -> Vec<(String, Hold)> {
        let keys = lease.keys().iter();
        keys.flat_map(|leased| self.take_out_key(leased.key.as_str())).collect()
    }

    pub(crate) fn take_out_key(&mut self, key: &str) -> Vec<(String, Hold)> {
        self.holds.remove_entry(key).into_iter().collect()
    }

    pub(crate) fn put_back(&mut self, holds: Vec<(String, Hold)>) {
        self.holds.extend(holds);
    }

    pub(crate) fn extend(&mut self, lease: &Lease, expiry: Expiry) -> Result<(), LockKey> {
        let revives = self.has(Fault::RevivesExpiredLeasesUntilSomebodyAsks);
        if !revives {
            self.expire();
        }
        let held = |table: &Self, leased: &LeasedKey| {
            let hold = table.holds.get(&table.place(leased.key.as_str()));
            hold.filter(|hold| revives || !hold.is_over()).is_some_and(|hold| {
                (hold.token == leased.token.get() || table.has(Fault::ExtendsByOwnerAlone))
                    && hold.owner == lease.owner
            })
        };
        let unchecked =
            |leased: &LeasedKey| self.has(Fault::ChecksOnlyTheKeysThatALeaseTook) && !leased.taken;
        let lost = lease.keys().iter().find(|leased| !held(self, leased) && !unchecked(leased));
        let lost = lost.map(|leased| leased.key.clone());
        if let Some(key) = &lost {
            match self.fault {
                Fault::ExtendsWhatIsGone => return Ok(()),
                Fault::ExtendsKeysOneByOne => {}
                _ => return Err(key.clone()),
            }
        }
        if self.has(Fault::ForgetsToExtend) {
            return Ok(());
        }
        let wanted = Instant::now() + expiry.get();
        for (at, leased) in lease.keys().iter().enumerate() {
            let skips = (at > 0 && self.has(Fault::ExtendsOnlyTheFirstKey))
                || (!leased.taken && self.has(Fault::ExtendsOnlyWhatALeaseTook));
            if skips || !held(self, leased) {
                continue;
            }
            let (place, never_shortens) =
                (self.place(leased.key.as_str()), self.has(Fault::NeverShortens));
            if let Some(hold) = self.holds.get_mut(&place) {
                let shortens = hold.expires.is_none_or(|before| wanted < before);
                if !(shortens && never_shortens) {
                    hold.expires = Some(wanted);
                }
            }
        }
        if !self.has(Fault::GrantsAtTheOldExpiry) {
            self.tell_waiters();
        }
        lost.map_or(Ok(()), Err)
    }

    pub(crate) fn release(&mut self, keys: &KeySet, owner: Option<&OwnerId>) -> bool {
        self.expire();
        let fault = self.fault;
        if fault == Fault::ForgetsToRelease {
            return true;
        }
        let mut all = true;
        for key in keys {
            let place = self.place(key.as_str());
            let frees = self.holds.get(&place).is_some_and(|hold| {
                let by_owner = self.same_owner(hold.owner.as_ref(), owner)
                    || fault == Fault::FreesWithoutTheOwnerCheck
                    || (fault == Fault::FreesOwnedKeysWithoutAnOwner && owner.is_none());
                let over = hold.is_over() && fault != Fault::ReleasesExpiredHolds;
                let by_kind = hold.guard.is_none() || fault == Fault::FreesGuardsByName;
                let anonymous = owner.is_none() && fault == Fault::FreesNoAnonymousLeases;
                by_owner && by_kind && !over && !anonymous
            });
            match self.holds.get_mut(&place).filter(|_| frees) {
                Some(hold) if fault == Fault::CountsHolds && hold.count > 1 => hold.count -= 1,
                Some(_) => drop(self.holds.remove(&place)),
                None => {
                    all = false;
                    if fault == Fault::ReleaseStopsAtTheFirstMiss {
                        break;
                    }
                }
            }
        }
        self.freed();
        all || fault == Fault::SaysTrueToAnyRelease
    }

    pub(crate) fn release_lease(&mut self, lease: &Lease, client: usize) -> Result<(), LockKey> {
        let fault = self.fault;
        let late = fault == Fault::ReleasesExpiredLeasesUntilSomebodyAsks;
        if !late {
            self.expire();
        }
        if fault == Fault::ForgetsToRelease {
            return Ok(());
        }
        let mut lost = None;
        let all = fault == Fault::ReleasesWhatALeaseReentered;
        for leased in lease.keys().iter().filter(|leased| leased.taken || all) {
            let place = self.place(leased.key.as_str());
            let frees = self.holds.get(&place).is_some_and(|hold| {
                let by_token = hold.token == leased.token.get() && hold.owner == lease.owner;
                let by_owner =
                    fault == Fault::ReleasesLeasesWithoutTheToken && hold.owner == lease.owner;
                let by_client = fault != Fault::KnowsLeasesByTheirClient || hold.client == client;
                let over = hold.is_over() && fault != Fault::ReleasesExpiredHolds && !late;
                (by_token || by_owner || fault == Fault::ReleasesLeasesByKeyAlone)
                    && by_client
                    && !over
            });
            if frees {
                self.holds.remove(&place);
            } else if lost.is_none() {
                lost = Some(leased.key.clone());
                if fault == Fault::StopsAtTheFirstLostKey {
                    break;
                }
            }
        }
        self.freed();
        match lost {
            Some(key) if fault != Fault::SaysTrueToAnyRelease => Err(key),
            _ => Ok(()),
        }
    }

    pub(crate) fn release_all(&mut self, scope: &ReleaseScope) -> u64 {
        let mut freed = self.release_all_once(scope);
        if self.has(Fault::FreesSuccessorsToo) {
            freed += self.release_all_once(scope);
        }
        freed
    }

    fn release_all_once(&mut self, scope: &ReleaseScope) -> u64 {
        self.expire();
        let fault = self.fault;
        let expired = std::mem::take(&mut self.expired);
        let covers = |place: &String, hold: &Hold| {
            let once = || expired.contains(&(place.clone(), scope.owner.clone()));
            let owner = match (&scope.owner, &hold.owner) {
                (Some(_), _) if once() => true,
                (Some(_), _) if fault == Fault::FreesEverybodysGuardsForAnOwner => {
                    (hold.guard.is_some() && scope.including_running) || scope.owner == hold.owner
                }
                (Some(wanted), Some(owner)) if fault == Fault::MatchesOwnersAsPatterns => {
                    is_like(wanted.as_str().as_bytes(), owner.as_str().as_bytes())
                }
                (Some(wanted), Some(owner)) if fault == Fault::TrimsOwners => {
                    wanted.as_str().trim() == owner.as_str().trim()
                }
                (Some(wanted), Some(owner)) if fault == Fault::MatchesOwnersByPrefix => {
                    owner.as_str().starts_with(wanted.as_str())
                }
                (Some(_), _) if fault == Fault::FreesEverybodysForAnOwner => true,
                (None, _) => true,
                (wanted, owner) => wanted == owner,
            };
            let running = match fault {
                Fault::NeverFreesWhatRuns => hold.guard.is_none(),
                Fault::ReleaseAllFreesGuards => true,
                Fault::FreesAnOwnersGuardsUnasked if scope.owner.is_some() => true,
                Fault::MissesAnOwnersGuards if scope.owner.is_some() => hold.guard.is_none(),
                Fault::FreesNoLeasesWithWhatRuns => scope.including_running == hold.guard.is_some(),
                _ => scope.including_running || hold.guard.is_none(),
            };
            let missed = match fault {
                Fault::ReleaseAllFreesNothing => true,
                Fault::MissesAnOwnersLeasesThatWaited => scope.owner.is_some() && hold.may_wait,
                Fault::MissesAnOwnersLeasesAfterTheirFirstExpiry => {
                    scope.owner.is_some()
                        && hold.first_expires.is_some_and(|at| at <= Instant::now())
                }
                _ => false,
            };
            owner && running && !missed
        };
        let over = |hold: &Hold| hold.is_over() && fault != Fault::CountsExpiredHolds;
        let before = self.holds.len();
        let mut page = PAGE;
        self.holds.retain(|place, hold| {
            let mut frees = covers(place, hold) && !over(hold);
            if fault == Fault::ReleaseAllFreesOnePage && scope.owner.is_none() && frees {
                frees = page > 0;
                page = page.saturating_sub(1);
            }
            if let Some(loss) = hold.guard.as_ref().filter(|_| frees) {
                loss.signal(LossReason::Revoked);
            }
            !frees
        });
        let freed = before - self.holds.len();
        if fault != Fault::ForgetsWaitersOnReleaseAll {
            self.freed();
        }
        freed as u64
    }

    pub(crate) fn inspect(&mut self, key: &LockKey) -> Option<LockInfo> {
        self.expire();
        self.list().into_iter().find(|info| info.key == *key)
    }

    pub(crate) fn list(&mut self) -> Vec<LockInfo> {
        let fault = self.fault;
        let late = fault == Fault::ListsExpiredHoldsUntilSomebodyAsks;
        if !late {
            self.expire();
        }
        let late = late || fault == Fault::ListsExpiredHolds;
        let told = self.holds.values().filter(|hold| late || !hold.is_over());
        told.map(|hold| {
            let token = match fault {
                Fault::TellsTheCountersToken => self.next_token + 1,
                _ => hold.token,
            };
            let left = hold.expires.map(|at| at.saturating_duration_since(Instant::now()));
            let left = match fault {
                Fault::TellsAnEndOfEndlessHolds => left.or(Some(Duration::ZERO)),
                // Milliseconds in 31 bits.
                Fault::TellsNoLongTimes => {
                    left.map(|left| left.min(Duration::from_secs(2_147_483)))
                }
                _ => left,
            };
            let owner = hold.owner.clone().filter(|_| fault != Fault::TellsNoOwners);
            let waits = |waiter: &&Arc<Waiter>| waiter.request.keys.contains(&hold.key);
            let gone = usize::try_from(self.litter).expect("few");
            let waiters = self.queue.iter().filter(waits).count() + gone;
            let kind = match fault {
                Fault::TellsLeasesOfGuardsThatWaited if hold.waited => HoldKind::Lease,
                _ => hold.kind(),
            };
            LockInfo::new(hold.key.clone(), FencingToken::new(token), kind)
                .with_owner(owner)
                .with_expires_in(left)
                .with_waiters(waiters)
        })
        .collect()
    }

    pub(crate) fn close(&mut self, client: usize) {
        let whole = self.has(Fault::ClosesTheWholeStore);
        for (_, closed) in self.clients.iter().filter(|(other, _)| **other == client || whole) {
            closed.store(true, Ordering::SeqCst);
        }
        let ghosts = self.has(Fault::LeavesGhostsInTheQueue);
        let (leaving, staying) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(|waiter| waiter.client == client && !ghosts);
        self.queue = staying;
        let leaving: Vec<Arc<Waiter>> = leaving;
        for waiter in &leaving {
            self.end(waiter, Err(()));
        }
        if self.has(Fault::KeepsLeasesWhileItsClientIsOpen) {
            self.end_soon(client);
        }
        if self.has(Fault::CloseFreesLeases) {
            self.holds.retain(|_, hold| hold.client != client);
        }
        self.settle();
    }
}

/// As patterns of SQL and of shells are matched.
fn is_like(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'%' | b'*', rest @ ..], _) => (0..=text.len()).any(|at| is_like(rest, &text[at..])),
        ([wanted, rest @ ..], [byte, others @ ..]) => {
            (*wanted == b'_' || wanted == byte) && is_like(rest, others)
        }
        _ => false,
    }
}
