//! The model's table: who holds what, and who waits, in one list.

mod ends;
mod queue;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use locking_core::{
    AcquireRequest, Expiry, FencingToken, Hold as HoldOf, HoldKind, KeySet, LeasedKey, LockKey,
    LossSignal, OwnerId, WaitUntil,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::fault::Fault;

#[derive(Debug)]
pub(crate) struct Table {
    fault: Fault,
    holds: BTreeMap<String, Hold>,
    queue: Vec<Arc<Waiter>>,
    next_token: u64,
    clients: HashMap<usize, Arc<AtomicBool>>,
    migrated: bool,
    /// Free keys that are kept for somebody who was passed over too often.
    kept: Vec<LockKey>,
    /// What faults leave behind, and remember.
    litter: u64,
    last_expiry: Option<Expiry>,
    last_asked: Instant,
    expired: Vec<(String, Option<OwnerId>)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Hold {
    key: LockKey,
    owner: Option<OwnerId>,
    token: u64,
    expires: Option<Instant>,
    guard: Option<LossSignal>,
    client: usize,
    count: usize,
    /// Whether its request would have waited.
    may_wait: bool,
    /// Whether it did.
    waited: bool,
    /// When it would have been over, had nobody extended it.
    first_expires: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) request: AcquireRequest,
    client: usize,
    /// Holds with a greater token came later.
    since: u64,
    passes: AtomicUsize,
    pub(crate) changed: Notify,
    outcome: Mutex<Option<Outcome>>,
    pub(crate) first_look: Mutex<Option<Option<Instant>>>,
    /// What it re-entered when it came, for a fault.
    reentered: Vec<LeasedKey>,
}

/// The keys that were granted; `Err`: the client was closed.
pub(crate) type Outcome = Result<Vec<LeasedKey>, ()>;

impl Hold {
    fn is_over(&self) -> bool {
        self.expires.is_some_and(|expires| expires <= Instant::now())
    }

    fn kind(&self) -> HoldKind {
        if self.guard.is_some() { HoldKind::Guard } else { HoldKind::Lease }
    }
}

impl Table {
    pub(crate) fn new(fault: Fault) -> Self {
        Self {
            fault,
            holds: BTreeMap::new(),
            queue: Vec::new(),
            next_token: 1_000_000,
            clients: HashMap::new(),
            migrated: false,
            kept: Vec::new(),
            litter: 0,
            last_expiry: None,
            last_asked: Instant::now(),
            expired: Vec::new(),
        }
    }

    pub(crate) fn closed_flag(&mut self, client: usize) -> Arc<AtomicBool> {
        Arc::clone(self.clients.entry(client).or_default())
    }

    pub(crate) fn entries(&mut self) -> u64 {
        self.expire();
        (self.holds.len() + self.queue.len()) as u64 + self.litter
    }

    /// Whether it was done before.
    pub(crate) fn migrate(&mut self) -> bool {
        std::mem::replace(&mut self.migrated, true)
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// The place of a key, as this table tells keys apart.
    fn place(&self, key: &str) -> String {
        match self.fault {
            Fault::FoldsCaseOfKeys => key.to_lowercase(),
            Fault::KnowsKeysByAHash => key
                .bytes()
                .fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)))
                .to_string(),
            Fault::CutsLongKeys => key.chars().take(255).collect(),
            _ => key.to_owned(),
        }
    }

    fn same_owner(&self, one: Option<&OwnerId>, other: Option<&OwnerId>) -> bool {
        match (one, other) {
            (Some(one), Some(other)) if self.has(Fault::FoldsCaseOfOwners) => {
                one.as_str().eq_ignore_ascii_case(other.as_str())
            }
            (Some(one), Some(other)) if self.has(Fault::CutsLongOwners) => {
                one.as_str().chars().take(255).eq(other.as_str().chars().take(255))
            }
            _ => one == other,
        }
    }

    fn expire(&mut self) {
        let keeps_them = matches!(
            self.fault,
            Fault::ReentersExpiredHolds
                | Fault::ReleasesExpiredHolds
                | Fault::ListsExpiredHolds
                | Fault::CountsExpiredHolds
        );
        if self.has(Fault::FreesWhatAnOwnerOnceHeld) {
            let over = self.holds.iter().filter(|(_, hold)| hold.is_over());
            self.expired.extend(over.map(|(place, hold)| (place.clone(), hold.owner.clone())));
        }
        if !keeps_them {
            self.holds.retain(|_, hold| !hold.is_over());
        }
    }

    fn hold(&self, key: &LockKey) -> Option<&Hold> {
        let hold = self.holds.get(&self.place(key.as_str()))?;
        (!hold.is_over()).then_some(hold)
    }

    fn reenters(&self, request: &AcquireRequest, client: usize, hold: &Hold) -> bool {
        let guard = matches!(request.hold, HoldOf::Guard(_));
        let named = request.owner.is_some() || self.has(Fault::ReentersAnonymousHolds);
        let guards = (!guard && hold.guard.is_none()) || self.has(Fault::ReentersGuards);
        (named && guards && self.same_owner(request.owner.as_ref(), hold.owner.as_ref()))
            || (self.has(Fault::TakesTheClientForTheOwner) && hold.client == client)
    }

    fn blocks(&self, request: &AcquireRequest, client: usize, hold: &Hold) -> bool {
        let kind = request.hold.kind();
        let apart = self.has(Fault::KeepsGuardsAndLeasesApart) && hold.kind() != kind;
        let passes = self.reenters(request, client, hold) || self.has(Fault::GrantsHeldKeys);
        !(passes || apart)
    }

    /// The first key that is in the way, if any is.
    pub(crate) fn look(&self, request: &AcquireRequest, client: usize) -> Result<(), LockKey> {
        let blocks = |key: &&LockKey| match self.hold(key) {
            Some(hold) => self.blocks(request, client, hold),
            None => self.kept.contains(key),
        };
        if self.has(Fault::LocksTheWholeTable)
            && let Some(hold) = self.holds.values().find(|hold| self.blocks(request, client, hold))
        {
            return Err(hold.key.clone());
        }
        let first = match self.fault {
            Fault::NamesTheLastBlockingKey => request.keys.iter().rev().find(blocks),
            Fault::NamesTheFirstByItsLetters => {
                let blocking = request.keys.iter().filter(blocks);
                blocking.min_by_key(|key| key.as_str().to_lowercase())
            }
            _ => request.keys.iter().find(blocks),
        };
        first.map_or(Ok(()), |key| Err(key.clone()))
    }

    pub(crate) fn blocking(&self, request: &AcquireRequest, client: usize) -> LockKey {
        self.look(request, client).err().unwrap_or_else(|| request.keys.first().clone())
    }

    pub(crate) fn try_take(
        &mut self,
        request: &AcquireRequest,
        client: usize,
    ) -> Result<Vec<LeasedKey>, LockKey> {
        self.expire();
        let is_idle = self.holds.is_empty() && self.queue.is_empty();
        let idle_for = self.last_asked.elapsed();
        if self.has(Fault::ForgetsTokensWhenIdle)
            && is_idle
            && idle_for > Duration::from_millis(500)
        {
            self.begin_tokens_anew();
        }
        self.last_asked = Instant::now();
        self.settle();
        if self.has(Fault::QueuesReentriesBehindOthers) && self.is_behind(request, client) {
            return Err(request.keys.first().clone());
        }
        if let Err(blocking) = self.look(request, client) {
            self.misuse_refused(request, client);
            return Err(blocking);
        }
        Ok(self.take(request, client))
    }

    /// What some faults do with a call that is refused.
    fn misuse_refused(&mut self, request: &AcquireRequest, client: usize) {
        let extends = self.has(Fault::ExtendsBeforeAllKeysAreFree);
        let keeps = self.has(Fault::KeepsWhatARefusedCallTook)
            || (self.has(Fault::HoldsFreeKeysWhileItWaits) && request.wait.instant().is_some());
        for key in &request.keys {
            let mut one = request.clone();
            one.keys = KeySet::from(key.clone());
            let mine = self.hold(key).is_some_and(|hold| self.reenters(request, client, hold));
            if (extends && mine) || (keeps && self.hold(key).is_none()) {
                self.take(&one, client);
            }
        }
    }

    /// Takes the keys, whoever holds them.
    pub(crate) fn take(&mut self, request: &AcquireRequest, client: usize) -> Vec<LeasedKey> {
        let token = self.draw_token();
        self.take_with(token, request, client)
    }

    fn take_with(&mut self, token: u64, request: &AcquireRequest, client: usize) -> Vec<LeasedKey> {
        if self.has(Fault::LeavesEntriesBehind) {
            self.litter += 1;
        }
        if self.has(Fault::ForgetsOldKeys) && self.holds.len() > 500 {
            self.holds.pop_first();
        }
        request.keys.iter().map(|key| self.take_key(request, client, key, token)).collect()
    }

    fn take_key(
        &mut self,
        request: &AcquireRequest,
        client: usize,
        key: &LockKey,
        token: u64,
    ) -> LeasedKey {
        let expiry = match self.fault {
            Fault::RemembersTheLastExpiry => request.expiry.or(self.last_expiry),
            _ => request.expiry,
        };
        self.last_expiry = expiry;
        let expires = expiry.map(|expiry| Instant::now() + expiry.get());
        let (place, fault) = (self.place(key.as_str()), self.fault);
        let reentered = self.holds.get(&place).is_some_and(|hold| {
            self.reenters(request, client, hold)
                && (!hold.is_over() || fault == Fault::ReentersExpiredHolds)
        });
        if reentered && let Some(hold) = self.holds.get_mut(&place) {
            hold.count += 1;
            hold.expires = match (fault, hold.expires, expires) {
                (Fault::NeverExtendsOnReentry, before, _) => before,
                (Fault::ShortensOnReentry, _, Some(wanted)) => Some(wanted),
                (Fault::ForgetsTheExpiryOnReentry, _, None) => None,
                (_, Some(before), Some(wanted)) => Some(before.max(wanted)),
                (_, before, _) => before,
            };
            if fault == Fault::DrawsANewTokenOnReentry {
                hold.token = token;
            }
            return LeasedKey::reentered(key.clone(), FencingToken::new(hold.token));
        }
        let guard = match &request.hold {
            HoldOf::Guard(loss) => Some(loss.clone()),
            _ => None,
        };
        let owner = request.owner.clone();
        let may_wait = request.wait != WaitUntil::Now;
        let hold = Hold {
            key: key.clone(),
            owner,
            token,
            expires,
            guard,
            client,
            count: 1,
            may_wait,
            waited: false,
            first_expires: expires,
        };
        self.holds.insert(place, hold);
        LeasedKey::taken(key.clone(), FencingToken::new(token))
    }

    /// Whether it enters a hold again that somebody in the queue waits for.
    fn is_behind(&self, request: &AcquireRequest, client: usize) -> bool {
        let mine = |key: &&LockKey| {
            self.hold(key).is_some_and(|hold| self.reenters(request, client, hold))
        };
        let waits = |key: &LockKey| self.queue.iter().any(|w| w.request.keys.contains(key));
        request.keys.iter().filter(mine).any(waits)
    }

    pub(crate) fn begin_tokens_anew(&mut self) {
        self.next_token = 1_000_000;
    }

    fn draw_token(&mut self) -> u64 {
        match self.fault {
            Fault::ReusesTokens => {}
            Fault::TokensGoDown => self.next_token -= 1,
            _ => self.next_token += 1,
        }
        self.next_token
    }
}
