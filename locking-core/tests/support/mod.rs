//! A store in memory that fails when it is told to, and what tests ask about it.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod capture;
pub(crate) mod fault;
pub(crate) mod registered;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use locking_core::{
    AcquireRequest, Backoff, Capabilities, Capability, Error, Expiry, FencingToken, Grant, Hold,
    KeySet, Lease, LeasedKey, LockInfo, LockKey, LockingModule, LockingProvider, LossReason,
    OwnerId, ProviderId, ReleaseScope, Result, Session, TryAcquire, WaitUntil, acquire_by_polling,
    async_trait,
};
use tokio::time::{Instant, sleep};

use self::fault::Calls;

/// A provider over a map. Its clones are one store.
#[derive(Clone, Debug)]
pub(crate) struct FakeStore(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    id: ProviderId,
    holds: Mutex<HashMap<LockKey, Held>>,
    last_token: AtomicU64,
    session: Mutex<Option<Session>>,
    term: Mutex<Option<Duration>>,
    closed: AtomicBool,
    /// Acquisitions, each of which makes attempts until its wait is over.
    pub(crate) acquisitions: Calls,
    /// Attempts to take keys. A slow one has taken them before it answers.
    pub(crate) attempts: Calls,
    pub(crate) extends: Calls,
    /// Releases, by name or as a lease.
    pub(crate) releases: Calls,
    pub(crate) release_alls: Calls,
    /// Questions who holds what, to which it has no answer.
    pub(crate) questions: Calls,
    pub(crate) migrations: Calls,
    pub(crate) closes: Calls,
}

#[derive(Debug)]
struct Held {
    owner: Option<OwnerId>,
    token: FencingToken,
    hold: Hold,
    until: Option<Instant>,
}

impl Held {
    fn is(&self, lease: &Lease, leased: &LeasedKey) -> bool {
        self.owner == lease.owner && self.token == leased.token
    }
}

impl std::ops::Deref for FakeStore {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl FakeStore {
    pub(crate) fn new() -> Self {
        Self::with_id(ProviderId::new("fake").expect("a valid id"))
    }

    pub(crate) fn with_id(id: ProviderId) -> Self {
        Self(Arc::new(Inner {
            id,
            holds: Mutex::default(),
            last_token: AtomicU64::new(0),
            session: Mutex::default(),
            term: Mutex::default(),
            closed: AtomicBool::new(false),
            acquisitions: Calls::default(),
            attempts: Calls::default(),
            extends: Calls::default(),
            releases: Calls::default(),
            release_alls: Calls::default(),
            questions: Calls::default(),
            migrations: Calls::default(),
            closes: Calls::default(),
        }))
    }

    /// A module over a fresh store.
    pub(crate) fn with_module() -> (Self, LockingModule) {
        let store = Self::new();
        let module = LockingModule::with_provider(Arc::new(store.clone()));
        (store, module)
    }

    pub(crate) fn is_held(&self, key: &str) -> bool {
        self.holds().contains_key(key)
    }

    /// The token under which a key is held now.
    pub(crate) fn token(&self, key: &str) -> Option<FencingToken> {
        self.holds().get(key).map(|held| held.token)
    }

    /// Ends a hold behind its holder's back.
    pub(crate) fn forget(&self, key: &str) {
        self.holds().remove(key).expect("the key was held");
    }

    /// From now on guards hang on this session.
    pub(crate) fn carry_guards_on(&self, session: Session) {
        *locked(&self.session) = Some(session);
    }

    /// From now on what is granted lasts only so long until it is extended.
    pub(crate) fn grant_for(&self, term: Duration) {
        *locked(&self.term) = Some(term);
    }

    /// How often it was asked for anything.
    pub(crate) fn calls(&self) -> usize {
        [&self.attempts, &self.extends, &self.releases, &self.release_alls, &self.closes]
            .into_iter()
            .map(Calls::count)
            .sum()
    }

    /// Waits until nobody holds a key, and answers how long that took.
    pub(crate) async fn freed(&self, key: &str) -> Duration {
        eventually(|| !self.is_held(key)).await
    }

    fn holds(&self) -> MutexGuard<'_, HashMap<LockKey, Held>> {
        let (mut holds, now) = (locked(&self.holds), Instant::now());
        holds.retain(|_, held| held.until.is_none_or(|until| now < until));
        holds
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::closed(&self.id)) } else { Ok(()) }
    }

    fn take(&self, request: &AcquireRequest) -> Result<Grant> {
        let mut holds = self.holds();
        let reenters = |held: &Held| {
            let leases = matches!((&held.hold, &request.hold), (Hold::Lease, Hold::Lease));
            leases && held.owner.is_some() && held.owner == request.owner
        };
        let blocking = |key: &&LockKey| holds.get(*key).is_some_and(|held| !reenters(held));
        if let Some(key) = request.keys.iter().find(blocking) {
            return Err(Error::held(&self.id, key.clone()));
        }
        let term = *locked(&self.term);
        let until = request.expiry.map(|expiry| Instant::now() + term.unwrap_or(expiry.get()));
        let mut leased = Vec::new();
        for key in &request.keys {
            if let Some(held) = holds.get(key) {
                leased.push(LeasedKey::reentered(key.clone(), held.token));
                continue;
            }
            let token = FencingToken::new(self.last_token.fetch_add(1, Ordering::Relaxed) + 1);
            let (owner, hold) = (request.owner.clone(), request.hold.clone());
            holds.insert(key.clone(), Held { owner, token, hold, until });
            leased.push(LeasedKey::taken(key.clone(), token));
        }
        let lease = Lease::new(self.id.clone(), request.owner.clone(), leased);
        let grant = Grant::new(lease).with_term(term);
        Ok(match (&request.hold, locked(&self.session).clone()) {
            (Hold::Guard(_), Some(session)) => grant.with_session(session),
            _ => grant,
        })
    }
}

#[async_trait]
impl TryAcquire for FakeStore {
    async fn try_acquire(&self, request: &AcquireRequest) -> Result<Grant> {
        let answers_after = self.attempts.begin(&self.id).await?;
        let answer = self.take(request);
        sleep(answers_after).await;
        answer
    }
}

#[async_trait]
impl LockingProvider for FakeStore {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::none()
    }

    async fn acquire(&self, request: AcquireRequest) -> Result<Grant> {
        self.check_open()?;
        sleep(self.acquisitions.begin(&self.id).await?).await;
        acquire_by_polling(self, request, Backoff::default()).await
    }

    async fn extend(&self, lease: &Lease, expiry: Expiry) -> Result<()> {
        let answers_after = self.extends.begin(&self.id).await?;
        let answer = {
            let mut holds = self.holds();
            let kept = |leased: &LeasedKey| {
                holds.get(&leased.key).is_some_and(|held| held.is(lease, leased))
            };
            match lease.keys().iter().find(|leased| !kept(leased)) {
                Some(gone) => Err(Error::lost(&self.id, gone.key.clone(), LossReason::Expired)),
                None => {
                    let until = Some(Instant::now() + expiry.get());
                    for leased in lease.keys() {
                        holds.get_mut(&leased.key).expect("just found").until = until;
                    }
                    Ok(())
                }
            }
        };
        sleep(answers_after).await;
        answer
    }

    async fn release(&self, keys: KeySet, owner: Option<OwnerId>) -> Result<bool> {
        self.check_open()?;
        let answers_after = self.releases.begin(&self.id).await?;
        let mut all = true;
        {
            let mut holds = self.holds();
            for key in &keys {
                let held = holds.get(key);
                let frees = held
                    .is_some_and(|held| held.owner == owner && matches!(held.hold, Hold::Lease));
                all &= frees && holds.remove(key).is_some();
            }
        }
        sleep(answers_after).await;
        Ok(all)
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        self.check_open()?;
        let answers_after = self.releases.begin(&self.id).await?;
        let mut lost = None;
        {
            let mut holds = self.holds();
            for leased in lease.taken() {
                if holds.get(&leased.key).is_some_and(|held| held.is(lease, leased)) {
                    holds.remove(&leased.key);
                } else {
                    lost.get_or_insert(leased.key.clone());
                }
            }
        }
        sleep(answers_after).await;
        lost.map_or(Ok(()), |key| Err(Error::lost(&self.id, key, LossReason::Expired)))
    }

    async fn release_all(&self, scope: ReleaseScope) -> Result<u64> {
        self.check_open()?;
        sleep(self.release_alls.begin(&self.id).await?).await;
        let mut holds = self.holds();
        let mut count = 0;
        let covered = |held: &Held| scope.covers(held.owner.as_ref(), held.hold.kind());
        for (_, held) in holds.extract_if(|_, held| covered(held)) {
            count += 1;
            if let Hold::Guard(loss) = held.hold {
                loss.signal(LossReason::Revoked);
            }
        }
        Ok(count)
    }

    async fn inspect(&self, _: &LockKey) -> Result<Option<LockInfo>> {
        self.questions.begin(&self.id).await?;
        Err(Error::unsupported(&self.id, Capability::Lists))
    }

    async fn list(&self) -> Result<Vec<LockInfo>> {
        self.questions.begin(&self.id).await?;
        Err(Error::unsupported(&self.id, Capability::Lists))
    }

    async fn migrate(&self) -> Result<()> {
        self.migrations.begin(&self.id).await.map(drop)
    }

    async fn close(&self) -> Result<()> {
        sleep(self.closes.begin(&self.id).await?).await;
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}

/// A request for these keys.
pub(crate) fn request<const N: usize>(keys: [&str; N], wait: WaitUntil) -> AcquireRequest {
    let keys = keys.map(|key| LockKey::new(key).expect("a valid key"));
    AcquireRequest::new(KeySet::new(keys).expect("at least one key")).with_wait(wait)
}

/// Waits for a condition, and answers how long that took. Fails the test after ten seconds.
pub(crate) async fn eventually(condition: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(10), "still not so after ten seconds");
        sleep(Duration::from_millis(1)).await;
    }
    begun.elapsed()
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
