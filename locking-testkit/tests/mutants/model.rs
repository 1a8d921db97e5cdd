//! A provider that is easy to believe in, because it is slow and simple, and its faults.

mod looks_first;
mod waiting;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use locking_core::{
    AcquireRequest, Capabilities, Capability, Error, Expiry, Grant, KeySet, Lease, LeasedKey,
    LockInfo, LockKey, LockingProvider, LossReason, OwnerId, ProviderId, ReleaseScope, Result,
    WaitUntil, async_trait,
};
use locking_testkit::Harness;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use self::waiting::Queued;
use crate::fault::Fault;
use crate::table::{Hold, Table};

pub(crate) const CLAIMS: Capabilities = Capabilities::none()
    .with(Capability::Fencing)
    .with(Capability::Notified)
    .with(Capability::Fair)
    .with(Capability::AtomicMultiKey)
    .with(Capability::Lists);

/// How much a fault looks at in one go.
pub(crate) const PAGE: usize = 250;

/// What a model with this fault claims.
pub(crate) fn claims(fault: Fault) -> Capabilities {
    match fault {
        Fault::AsksSeldomAfterAWhile => Capabilities::none()
            .with(Capability::Fencing)
            .with(Capability::AtomicMultiKey)
            .with(Capability::Lists),
        _ => CLAIMS,
    }
}

/// One table per space.
pub(crate) struct ModelHarness {
    fault: Fault,
    spaces: Mutex<HashMap<String, Arc<Mutex<Table>>>>,
}

impl ModelHarness {
    pub(crate) fn new(fault: Fault) -> Self {
        Self { fault, spaces: Mutex::default() }
    }

    fn table(&self, space: &str) -> Arc<Mutex<Table>> {
        let mut spaces = self.spaces.lock().expect("not poisoned");
        let table = spaces.entry(space.to_owned());
        Arc::clone(table.or_insert_with(|| Arc::new(Mutex::new(Table::new(self.fault)))))
    }
}

#[async_trait]
impl Harness for ModelHarness {
    async fn connect(&self, space: &str) -> Arc<dyn LockingProvider> {
        Arc::new(Model::new(self.fault, self.table(space)))
    }

    async fn entries(&self, space: &str) -> Option<u64> {
        Some(self.table(space).lock().expect("not poisoned").entries())
    }
}

/// A client of a table.
pub(crate) struct Model {
    id: ProviderId,
    fault: Fault,
    table: Arc<Mutex<Table>>,
    client: usize,
    closed: Arc<AtomicBool>,
}

impl Model {
    fn new(fault: Fault, table: Arc<Mutex<Table>>) -> Self {
        static CLIENTS: AtomicUsize = AtomicUsize::new(1);
        let client = CLIENTS.fetch_add(1, Ordering::Relaxed);
        let closed = table.lock().expect("not poisoned").closed_flag(client);
        if fault == Fault::BeginsTokensAnewAtEachConnect {
            table.lock().expect("not poisoned").begin_tokens_anew();
        }
        Self { id: ProviderId::new("model").expect("valid"), fault, table, client, closed }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("not poisoned")
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) { Err(Error::closed(&self.id)) } else { Ok(()) }
    }

    fn lost(&self, key: LockKey) -> Error {
        Error::lost(&self.id, key, LossReason::Expired)
    }

    fn grant(&self, owner: Option<OwnerId>, mut keys: Vec<LeasedKey>) -> Grant {
        if self.has(Fault::SaysReenteredOfTakenKeys) {
            keys.iter_mut().for_each(|leased| leased.taken = false);
        }
        let provider = match self.fault {
            Fault::NamesAnotherProvider => ProviderId::new("another").expect("valid"),
            _ => self.id.clone(),
        };
        Grant::new(Lease::new(provider, owner, keys))
    }

    /// The request as this provider misreads it.
    fn misread(&self, mut request: AcquireRequest) -> AcquireRequest {
        let after = request.expiry.map(Expiry::get);
        let misread = after.and_then(|after| match self.fault {
            Fault::CutsToWholeSeconds => Some(Duration::from_secs(after.as_secs().max(1))),
            Fault::ExpiresEarly => Some(after / 2),
            Fault::OverflowsLongTimes if after > Duration::from_secs(86_400 * 24) => {
                Some(Duration::from_millis(1))
            }
            _ => None,
        });
        request.expiry = match (self.fault, misread) {
            (Fault::ForgetsExpiry, _) => None,
            (_, Some(after)) => Some(Expiry::new(after).expect("valid")),
            _ => request.expiry,
        };
        request.wait = match (self.fault, request.wait) {
            (Fault::WaitsOnZero, WaitUntil::Now) => in_time(2_000),
            (Fault::EndsUnlimitedWaits, WaitUntil::Forever) => in_time(200),
            (Fault::WaitsTooLong, WaitUntil::Deadline(at)) => {
                WaitUntil::Deadline(at + Duration::from_millis(200))
            }
            (Fault::CountsTheDeadlinePerKey, WaitUntil::Deadline(at)) => {
                let wait = at.saturating_duration_since(Instant::now());
                let keys = u32::try_from(request.keys.len()).expect("few keys");
                WaitUntil::Deadline(Instant::now() + wait * keys)
            }
            (_, wait) => wait,
        };
        request
    }

    /// Takes the keys at once, or says which one is in the way.
    async fn try_take(&self, request: &AcquireRequest) -> Result<Vec<LeasedKey>, LockKey> {
        if let Some(reentered) = self.looks_and_reenters(request).await {
            return Ok(reentered);
        }
        if self.has(Fault::LooksBeforeItTakes) {
            let looked = self.table().look(request, self.client);
            yield_now().await;
            looked?;
            return Ok(self.table().take(request, self.client));
        }
        if self.has(Fault::ShowsHalfTakenCalls) && request.keys.len() > 1 {
            return self.take_visibly(request).await;
        }
        self.table().try_take(request, self.client)
    }

    async fn take_visibly(&self, request: &AcquireRequest) -> Result<Vec<LeasedKey>, LockKey> {
        let mut taken = Vec::new();
        for key in &request.keys {
            let mut one = request.clone();
            one.keys = KeySet::from(key.clone());
            let answer = self.table().try_take(&one, self.client);
            match answer {
                Ok(keys) => taken.extend(keys),
                Err(key) => {
                    sleep(Duration::from_millis(1)).await;
                    let lease = Lease::new(self.id.clone(), request.owner.clone(), taken);
                    self.table().release_lease(&lease, self.client).expect("just taken");
                    return Err(key);
                }
            }
        }
        Ok(taken)
    }
}

fn in_time(millis: u64) -> WaitUntil {
    WaitUntil::Deadline(Instant::now() + Duration::from_millis(millis))
}

#[async_trait]
impl LockingProvider for Model {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn capabilities(&self) -> Capabilities {
        match self.fault {
            Fault::ClaimsWhatItsHarnessDoesNot => CLAIMS.with_takeover(Duration::from_secs(1)),
            fault => claims(fault),
        }
    }

    async fn acquire(&self, request: AcquireRequest) -> Result<Grant> {
        self.check_open()?;
        if self.has(Fault::LeavesTasksBehind) {
            tokio::spawn(std::future::pending::<()>());
        }
        let (request, owner) = (self.misread(request.clone()), request.owner);
        if self.has(Fault::LosesWakeUpsAtRegistration) && request.wait != WaitUntil::Now {
            let blocked = self.table().look(&request, self.client).is_err();
            yield_now().await;
            if blocked {
                let waiter = self.table().enqueue_blindly(request, self.client);
                let keys = self.wait(Queued { model: self, waiter: waiter.clone() }).await?;
                return Ok(self.grant(owner, keys));
            }
        }
        let blocking = match self.try_take(&request).await {
            Ok(keys) => {
                if self.has(Fault::LeaksOnCancel) {
                    yield_now().await;
                }
                return Ok(self.grant(owner, keys));
            }
            Err(blocking) => blocking,
        };
        if request.wait == WaitUntil::Now {
            return Err(Error::held(&self.id, blocking));
        }
        let waiter = self.table().enqueue(request, self.client);
        if self.has(Fault::SleepsToTheFirstExpiry) {
            let first = self.table().next_look(&waiter);
            *waiter.first_look.lock().expect("not poisoned") = Some(first);
        }
        let keys = self.wait(Queued { model: self, waiter }).await?;
        Ok(self.grant(owner, keys))
    }

    async fn extend(&self, lease: &Lease, expiry: Expiry) -> Result<()> {
        self.check_open()?;
        if self.has(Fault::CancelledExtendLosesTheLease) {
            let held: Vec<(String, Hold)> = self.table().take_out(lease);
            yield_now().await;
            self.table().put_back(held);
        }
        if let Some(answer) = self.looks_and_extends(lease, expiry).await {
            return answer;
        }
        let expiry = match self.fault {
            Fault::ExpiresEarly => Expiry::new(expiry.get() / 2).expect("valid"),
            _ => expiry,
        };
        self.table().extend(lease, expiry).map_err(|key| self.lost(key))
    }

    async fn release(&self, keys: KeySet, owner: Option<OwnerId>) -> Result<bool> {
        self.check_open()?;
        if let Some(answer) = self.looks_and_releases(&keys, owner.as_ref()).await {
            return Ok(answer);
        }
        Ok(self.table().release(&keys, owner.as_ref()))
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        self.check_open()?;
        if let Some(answer) = self.looks_and_gives_back(lease).await {
            return answer;
        }
        self.table().release_lease(lease, self.client).map_err(|key| self.lost(key))
    }

    async fn release_all(&self, scope: ReleaseScope) -> Result<u64> {
        self.check_open()?;
        if self.has(Fault::LooksBeforeItFrees) {
            let keys = self.table().covered(&scope);
            sleep(Duration::from_millis(5)).await;
            self.table().free(&keys);
            return Ok(keys.len() as u64);
        }
        Ok(self.table().release_all(&scope))
    }

    async fn inspect(&self, key: &LockKey) -> Result<Option<LockInfo>> {
        self.check_open()?;
        if self.has(Fault::FreesWhatItLooksAt) {
            let held = self.table().take_out_key(key.as_str());
            yield_now().await;
            self.table().put_back(held);
        }
        Ok(self.table().inspect(key))
    }

    async fn list(&self) -> Result<Vec<LockInfo>> {
        self.check_open()?;
        if self.has(Fault::AnswersUnsupported) {
            return Err(Error::unsupported(&self.id, Capability::Lists));
        }
        let mut list = self.table().list();
        if self.has(Fault::ListsOnePage) {
            list.truncate(PAGE);
        }
        if self.has(Fault::ListsByLetters) {
            list.sort_by_cached_key(|info| info.key.as_str().to_lowercase());
        }
        if self.has(Fault::ListsInAnyOrder) {
            list.reverse();
        }
        Ok(list)
    }

    async fn migrate(&self) -> Result<()> {
        match self.table().migrate() {
            again if again && self.has(Fault::MigratesOnce) => {
                Err(Error::unavailable(&self.id, "relation already exists"))
            }
            _ => Ok(()),
        }
    }

    async fn close(&self) -> Result<()> {
        if !self.has(Fault::IgnoresItsClose) {
            self.table().close(self.client);
        }
        Ok(())
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        if self.has(Fault::KeepsLeasesWhileItsClientLives) {
            self.table().end_soon(self.client);
        }
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("fault", &self.fault).finish_non_exhaustive()
    }
}
