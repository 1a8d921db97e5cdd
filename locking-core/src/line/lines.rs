use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::fmt;
use std::future::Future;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

use super::agent::{self, Agent, First, Watch};
use super::ask::{Answer, Ask, AskId, ClientId, Manner};
use super::background::Tasks;
use super::direct::Direct;
use super::held::{Held, PASSES};
use super::place::Place;
use super::queue::{LocalQueue, Waiter, void};
use super::revoked::Revoked;
use super::several;
use super::stake::{Granting, Stake, StakeState};
use super::store::LineStore;
use super::undo::Undo;
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::key::LockKey;
use crate::loss::LossReason;
use crate::moment::Moment;
use crate::request::{AcquireRequest, Hold};
use crate::session::Session;
use crate::time::WaitUntil;
use crate::token::FencingToken;

const SHARDS: usize = 16;

/// The lines of one client of a store, and the guards that it holds.
///
/// See the [module](super). Cheap to ask where nobody waits: one look at a table before the store's
/// command, one after it.
pub struct Lines<S> {
    store: S,
    client: ClientId,
    asks: AtomicU64,
    places: AtomicU64,
    shards: [Mutex<HashMap<LockKey, LocalQueue>>; SHARDS],
    hasher: RandomState,
    revoked: Revoked,
    closed: AtomicBool,
    pub(super) tasks: Arc<Tasks>,
    runtime: Handle,
}

/// What a store tells of a grant from its queue.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Notice<'a> {
    /// The key, or one of several of the ask.
    pub key: &'a str,
    /// The ask that was granted.
    pub ask: &'a str,
    /// The token; of no matter to an ask for several keys, which asks again in any case.
    pub token: FencingToken,
    /// How long the grant lasts unless it is confirmed.
    pub term: Duration,
    /// The session that the hold hangs on, if it hangs on one.
    pub session: Option<Session>,
}

impl<'a> Notice<'a> {
    /// A grant to this ask.
    #[must_use]
    pub const fn new(key: &'a str, ask: &'a str, token: FencingToken, term: Duration) -> Self {
        Self { key, ask, token, term, session: None }
    }

    /// The same, of a hold that hangs on a session.
    #[must_use]
    pub fn with_session(self, session: Session) -> Self {
        Self { session: Some(session), ..self }
    }
}

impl<S: LineStore> Lines<S> {
    /// The lines of this client. Its tasks run on `runtime`.
    #[must_use]
    pub fn new(store: S, client: ClientId, runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            store,
            client,
            asks: AtomicU64::new(0),
            places: AtomicU64::new(0),
            shards: Default::default(),
            hasher: RandomState::new(),
            revoked: Revoked::default(),
            closed: AtomicBool::new(false),
            tasks: Arc::default(),
            runtime,
        })
    }

    /// The store behind them.
    #[must_use]
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// Takes all keys of the request, or none: [`LockingProvider::acquire`], whole.
    ///
    /// # Errors
    ///
    /// Those of [`LockingProvider::acquire`].
    ///
    /// [`LockingProvider::acquire`]: crate::LockingProvider::acquire
    pub async fn acquire(self: &Arc<Self>, request: AcquireRequest) -> Result<Grant> {
        if self.is_closed() {
            return Err(Error::closed(self.store.id()));
        }
        match request.wait {
            WaitUntil::Now => self.once(request).await,
            wait if request.keys.len() == 1 => self.in_line(request, wait.instant()).await,
            wait => several::wait(self, Arc::new(self.new_ask(request)), wait.instant()).await,
        }
    }

    /// Takes in what the store told. A grant of which nobody knows is left to end by itself: its ask was
    /// answered already, or is being taken back.
    pub fn notice(&self, notice: &Notice<'_>) {
        let Ok(key) = LockKey::new(notice.key) else { return };
        let session = notice.session.clone();
        let granting = Granting { token: notice.token, term: notice.term, session };
        self.with_news(&key, |queue| queue.notice(notice.ask, granting, self.store.id(), &key));
    }

    /// Takes in that the store freed a guard by force: it is lost.
    pub fn revoked(&self, key: &str, ask: &str) {
        let Ok(key) = LockKey::new(key) else { return };
        self.with(&key, |queue| match queue.held.take_if(|held| held.origin.as_str() == ask) {
            Some(held) => {
                if held.forget_at().is_some() {
                    // The agent sleeps until then.
                    queue.wake_agent();
                }
                held.loss.signal(LossReason::Revoked);
            }
            None => self.revoked.remember(ask),
        });
    }

    /// Has the line of a key ask again at once.
    pub fn look_at(&self, key: &str) {
        if let Ok(key) = LockKey::new(key) {
            self.with(&key, LocalQueue::look);
        }
    }

    /// Has every line ask again at once: what the store told may have been lost.
    pub fn look(&self) {
        for shard in &self.shards {
            let mut shard = locked(shard);
            shard.values_mut().for_each(LocalQueue::look);
        }
    }

    /// Ends every wait with the *closed* error, and waits until what was asked for is taken back.
    pub async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        for shard in &self.shards {
            let mut shard = locked(shard);
            shard.values_mut().for_each(|queue| queue.close(self.store.id()));
        }
        self.tasks.ended().await;
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Asks once, without waiting for anybody. An answer that was lost is asked for again.
    async fn once(self: &Arc<Self>, request: AcquireRequest) -> Result<Grant> {
        let mut undo = Undo::begin(self, Arc::new(self.new_ask(request)))?;
        let give_up = Instant::now() + self.store.patience();
        let mut backoff = Backoff::default();
        let mut unknown = None;
        loop {
            let sent = Moment::now();
            match self.store.ask(undo.ask(), Manner::Once, undo.is_repeated()).await {
                Ok(Answer::Granted(grant)) if !self.is_closed() => {
                    let ask = undo.settled();
                    self.hold(&ask, &grant, sent);
                    return Ok(grant.with_counted_from(sent));
                }
                Ok(Answer::Granted(_)) => {
                    undo.answered();
                    return Err(Error::closed(self.store.id()));
                }
                Ok(Answer::Blocked(blocked)) => {
                    // An earlier one whose answer was lost may still be carried out: that is taken back.
                    if unknown.is_none() {
                        undo.settled();
                    }
                    return Err(Error::held(self.store.id(), blocked.key));
                }
                // Dropping `undo` gives back what is left of an earlier one.
                Ok(Answer::Void) => return Err(unknown.unwrap_or_else(|| void(self.store.id()))),
                Err(error @ Error::UnknownOutcome { .. }) if Instant::now() < give_up => {
                    undo.lost();
                    unknown = Some(error);
                    sleep(backoff.next_delay()).await;
                }
                // Dropping `undo` takes it back.
                Err(error @ Error::UnknownOutcome { .. }) => return Err(error),
                Err(error) => match unknown {
                    Some(unknown) => return Err(unknown),
                    None => {
                        undo.settled();
                        return Err(error);
                    }
                },
            }
        }
    }

    /// Waits in the line of the request's one key.
    pub(super) async fn in_line(
        self: &Arc<Self>,
        request: AcquireRequest,
        deadline: Option<Instant>,
    ) -> Result<Grant> {
        let key = request.keys.first().clone();
        let number = self.places.fetch_add(1, Ordering::Relaxed);
        let reenters = request.owner.is_some() && matches!(request.hold, Hold::Lease);
        let again = reenters.then(|| request.clone());
        let joined = self.with(&key, |queue| {
            if queue.is_idle() {
                let undo = Undo::begin(self, Arc::new(self.new_ask(request.clone())))?;
                let ask = Arc::clone(undo.ask());
                queue.stake = Some(Stake::new(ask, number, StakeState::Direct));
                return Ok(Err((undo, request)));
            }
            let (tell, answer) = oneshot::channel();
            queue.waiters.push_back(Waiter { number, request, tell });
            if self.is_closed() {
                queue.close(self.store.id());
            }
            self.ensure_agent(&key, queue);
            Ok::<_, Error>(Ok(answer))
        })?;
        match joined {
            Err((undo, request)) => {
                Direct::new(self, key, undo).ask(request, number, deadline).await
            }
            Ok(answer) => {
                let place = Place::new(self, key, number, answer);
                match again {
                    // Its owner may hold the key already; then it needn't wait for anybody.
                    Some(request) => place.wait_or(deadline, self.reenter(request)).await,
                    None => place.wait(deadline).await,
                }
            }
        }
    }

    async fn reenter(&self, request: AcquireRequest) -> Option<Grant> {
        match self.store.ask(&self.new_ask(request), Manner::Reenter, false).await {
            Ok(Answer::Granted(grant)) => Some(grant),
            _ => None,
        }
    }

    pub(super) fn new_ask(&self, request: AcquireRequest) -> Ask {
        let id = AskId::next(&self.client, &self.asks);
        let alone = request.keys.len() == 1 && matches!(request.hold, Hold::Guard(_));
        Ask { id, request, spare_tokens: if alone { PASSES } else { 0 } }
    }

    /// Knows a guard from here on.
    pub(super) fn hold(&self, ask: &Ask, grant: &Grant, sent: Moment) {
        if matches!(ask.request.hold, Hold::Lease) {
            return;
        }
        for leased in grant.lease.keys() {
            let held = Held::new(ask, leased.token, sent, None, grant.session.clone());
            self.with(&leased.key, |queue| self.record(queue, held));
        }
    }

    pub(super) fn record(&self, queue: &mut LocalQueue, held: Option<Held>) {
        match held {
            Some(held) if self.revoked.contains(&held.origin) => {
                held.loss.signal(LossReason::Revoked);
            }
            Some(held) => {
                if let Some(ended) = queue.hold(held) {
                    ended.superseded();
                }
            }
            None => {}
        }
    }

    /// The first in the line has its answer, or has gone: those behind it are asked for by an agent.
    pub(super) fn end_direct(
        self: &Arc<Self>,
        key: &LockKey,
        queue: &mut LocalQueue,
        ask: &Arc<Ask>,
    ) {
        if queue.is_asked_by(ask) {
            queue.stake = None;
        }
        if queue.waiters.is_empty() {
            queue.wake_agent();
        } else {
            self.ensure_agent(key, queue);
        }
    }

    /// Starts an agent for a line, unless it has one: that is woken if it doesn't wake in time by itself.
    pub(super) fn ensure_agent(self: &Arc<Self>, key: &LockKey, queue: &mut LocalQueue) {
        if queue.agent.is_some() {
            return queue.rouse_agent();
        }
        let bell = Arc::new(Notify::new());
        queue.agent = Some(Agent::new(&bell, self.store.patience()));
        let watch = Watch::new(self, key, &bell, self.tasks.begin());
        let first = watch.first();
        self.runtime.spawn(agent::run(watch));
        // Else the runtime has ended.
        if *first.get_or_init(|| First::Spawned) == First::BrokeOff {
            queue.desert(self.store.id());
        }
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let running = self.tasks.begin();
        self.runtime.spawn(async move {
            task.await;
            drop(running);
        });
    }

    /// Looks at what there is to do with a key of which the store told something. A guard that it grants may
    /// have been freed by force already, which was told on another way.
    pub(super) fn with_news<T>(&self, key: &LockKey, look: impl FnOnce(&mut LocalQueue) -> T) -> T {
        self.with(key, |queue| {
            let before = queue.held.as_ref().map(|held| held.origin.clone());
            let seen = look(queue);
            let revoked = queue.held.take_if(|held| {
                before.as_ref() != Some(&held.origin) && self.revoked.contains(&held.origin)
            });
            if let Some(held) = revoked {
                held.loss.signal(LossReason::Revoked);
            }
            seen
        })
    }

    /// Looks at what there is to do with a key. What is empty afterwards is forgotten.
    pub(super) fn with<T>(&self, key: &LockKey, look: impl FnOnce(&mut LocalQueue) -> T) -> T {
        let shard = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        let mut shard = locked(&self.shards[shard]);
        match shard.entry(key.clone()) {
            Entry::Occupied(mut queue) => {
                let seen = look(queue.get_mut());
                if queue.get().is_empty() {
                    queue.remove();
                }
                seen
            }
            Entry::Vacant(place) => {
                let mut queue = LocalQueue::default();
                let seen = look(&mut queue);
                if !queue.is_empty() {
                    place.insert(queue);
                }
                seen
            }
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Lines<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines")
            .field("store", &self.store)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
