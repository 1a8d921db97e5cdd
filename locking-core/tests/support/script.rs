//! A store whose every answer the test gives: interleavings are told, not hoped for.

use std::sync::Arc;
use std::time::Duration;

use locking_core::line::{Answer, Ask, AskId, Blocked, ClientId, LineStore, Lines, Manner, Notice};
use locking_core::{
    AcquireRequest, Error, Expiry, FencingToken, Grant, KeySet, Lease, LeasedKey, LockKey,
    LossSignal, OwnerId, ProviderId, Result, WaitUntil,
};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

/// What the lines ask of the store, and where the answer goes.
#[derive(Debug)]
#[allow(dead_code, reason = "shown where a test expected something else")]
pub(crate) enum Call {
    Ask(Ask, Manner, oneshot::Sender<Result<Answer>>),
    Withdraw(Ask, bool, oneshot::Sender<Result<()>>),
    Extend(Lease, oneshot::Sender<Result<()>>),
    Release(Lease, oneshot::Sender<Result<()>>),
    ReleaseOrKeep(Lease, AskId, oneshot::Sender<Result<Option<FencingToken>>>),
    Rename(Lease, oneshot::Sender<Result<()>>),
}

#[derive(Debug)]
pub(crate) struct Script {
    id: ProviderId,
    calls: UnboundedSender<Call>,
}

/// The other side of it.
pub(crate) struct Prompter(UnboundedReceiver<Call>);

pub(crate) fn lines() -> (Arc<Lines<Script>>, Prompter) {
    lines_on(Handle::current())
}

/// The same, whose tasks run there.
pub(crate) fn lines_on(runtime: Handle) -> (Arc<Lines<Script>>, Prompter) {
    let (calls, called) = unbounded_channel();
    let store = Script { id: id(), calls };
    (Lines::new(store, ClientId::fresh(), runtime), Prompter(called))
}

pub(crate) fn id() -> ProviderId {
    ProviderId::new("scripted").expect("an id")
}

impl Script {
    async fn ask_for<T>(&self, call: impl FnOnce(oneshot::Sender<Result<T>>) -> Call) -> Result<T> {
        let (tell, answer) = oneshot::channel();
        let _ = self.calls.send(call(tell));
        answer.await.unwrap_or_else(|_| Err(Error::unknown_outcome(&self.id, "no answer")))
    }
}

impl LineStore for Script {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    async fn ask(&self, ask: &Ask, manner: Manner, _: bool) -> Result<Answer> {
        self.ask_for(|tell| Call::Ask(ask.clone(), manner, tell)).await
    }

    async fn withdraw(&self, ask: &Ask, unsure: bool) -> Result<()> {
        self.ask_for(|tell| Call::Withdraw(ask.clone(), unsure, tell)).await
    }

    async fn extend(&self, lease: &Lease, _: Expiry, _: Option<&AskId>) -> Result<()> {
        self.ask_for(|tell| Call::Extend(lease.clone(), tell)).await
    }

    async fn release_lease(&self, lease: &Lease, _: Option<&AskId>) -> Result<()> {
        self.ask_for(|tell| Call::Release(lease.clone(), tell)).await
    }

    async fn release_or_keep(
        &self,
        lease: &Lease,
        origin: &AskId,
        expiry: Option<Expiry>,
        count: u64,
    ) -> Result<Option<FencingToken>> {
        assert_eq!(
            (expiry, count),
            (Some(half_a_minute()), 16),
            "as the guard, and as it is passed on"
        );
        self.ask_for(|tell| Call::ReleaseOrKeep(lease.clone(), origin.clone(), tell)).await
    }

    async fn rename(&self, _: &AskId, lease: &Lease) -> Result<()> {
        self.ask_for(|tell| Call::Rename(lease.clone(), tell)).await
    }
}

impl Prompter {
    /// The next call; it has to come.
    pub(crate) async fn call(&mut self) -> Call {
        let call = timeout(Duration::from_secs(60), self.0.recv()).await;
        call.expect("the store is called").expect("the lines are there")
    }

    /// The next call, which has to be an ask.
    pub(crate) async fn asked(&mut self) -> (Ask, Manner, oneshot::Sender<Result<Answer>>) {
        match self.call().await {
            Call::Ask(ask, manner, tell) => (ask, manner, tell),
            other => panic!("expected an ask: {other:?}"),
        }
    }

    /// The next call, which has to be a withdrawal: the ask, whether unsure, and where it is answered.
    pub(crate) async fn withdrawn(&mut self) -> (Ask, bool, oneshot::Sender<Result<()>>) {
        match self.call().await {
            Call::Withdraw(ask, unsure, tell) => (ask, unsure, tell),
            other => panic!("expected a withdrawal: {other:?}"),
        }
    }

    /// The next call, which has to be a release.
    pub(crate) async fn released(&mut self) -> (Lease, oneshot::Sender<Result<()>>) {
        match self.call().await {
            Call::Release(lease, tell) => (lease, tell),
            other => panic!("expected a release: {other:?}"),
        }
    }

    /// The next call, which has to be a release unless nobody else waits.
    pub(crate) async fn released_or_kept(
        &mut self,
    ) -> (Lease, oneshot::Sender<Result<Option<FencingToken>>>) {
        match self.call().await {
            Call::ReleaseOrKeep(lease, _, tell) => (lease, tell),
            other => panic!("expected a release, or another turn: {other:?}"),
        }
    }

    /// Nothing is asked for so long.
    pub(crate) async fn is_silent(&mut self, time: Duration) {
        if let Ok(call) = timeout(time, self.0.recv()).await {
            panic!("nothing was to be asked: {call:?}");
        }
    }
}

/// The keys are held, with this token, by a lease that the ask took.
pub(crate) fn taken(ask: &Ask, token: u64) -> Result<Answer> {
    granted(ask, |key| LeasedKey::taken(key, FencingToken::new(token)))
}

/// The owner held the keys already.
pub(crate) fn reentered(ask: &Ask, token: u64) -> Result<Answer> {
    granted(ask, |key| LeasedKey::reentered(key, FencingToken::new(token)))
}

fn granted(ask: &Ask, leased: impl Fn(LockKey) -> LeasedKey) -> Result<Answer> {
    let keys = ask.request.keys.iter().cloned().map(leased);
    Ok(Answer::Granted(Grant::new(Lease::new(id(), ask.request.owner.clone(), keys))))
}

/// Somebody holds the first key for a minute; `newest` is the greatest token so far.
pub(crate) fn blocked(ask: &Ask, newest: u64) -> Result<Answer> {
    let key = ask.request.keys.first().clone();
    let blocked = Blocked::on(key, FencingToken::new(newest));
    Ok(Answer::Blocked(blocked.with_ends_in(Some(Duration::from_secs(60)))))
}

pub(crate) fn unavailable<T>() -> Result<T> {
    Err(Error::unavailable(&id(), "no connection"))
}

pub(crate) fn unknown<T>() -> Result<T> {
    Err(Error::unknown_outcome(&id(), "cut off"))
}

/// A grant from the queue, told to the client.
pub(crate) fn tell(lines: &Lines<Script>, ask: &Ask, token: u64, term: Duration) {
    let (key, token) = (ask.request.keys.first().clone(), FencingToken::new(token));
    lines.notice(&Notice::new(key.as_str(), ask.id.as_str(), token, term));
}

/// A guard's request for 30 s.
pub(crate) fn guard(keys: &[&str], wait: WaitUntil) -> AcquireRequest {
    lease(keys, wait).with_owner(OwnerId::fresh()).with_guard(LossSignal::new())
}

/// An anonymous lease's request for 30 s.
pub(crate) fn lease(keys: &[&str], wait: WaitUntil) -> AcquireRequest {
    let keys = keys.iter().map(|key| LockKey::new(key).expect("a key"));
    let keys = KeySet::new(keys).expect("keys");
    AcquireRequest::new(keys).with_expiry(half_a_minute()).with_wait(wait)
}

fn half_a_minute() -> Expiry {
    Expiry::new(Duration::from_secs(30)).expect("an expiry")
}

pub(crate) fn within(wait: Duration) -> WaitUntil {
    WaitUntil::Deadline(Instant::now() + wait)
}
