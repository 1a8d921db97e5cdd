//! Whom a provider wakes, and when, for a request that its caller polls as seldom as it may.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use locking_core::{
    AcquireRequest, Begun, Error, Grant, KeySet, LockKey, LockingProvider, OwnerId, Result,
    WaitUntil,
};
use locking_memory::MemoryProvider;

/// Counts how often it wakes.
#[derive(Default)]
struct Counted(AtomicUsize);

impl Counted {
    fn new() -> (Arc<Self>, Waker) {
        let counted = Arc::new(Self::default());
        let waker = Waker::from(Arc::clone(&counted));
        (counted, waker)
    }

    fn woken(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

type Call<'a> = Pin<Box<dyn Future<Output = Result<Grant>> + Send + 'a>>;

fn keys<const N: usize>(names: [&str; N]) -> KeySet {
    KeySet::new(names.map(|name| LockKey::new(name).expect("a key"))).expect("keys")
}

fn endless<const N: usize>(names: [&str; N]) -> AcquireRequest {
    AcquireRequest::new(keys(names)).with_wait(WaitUntil::Forever)
}

async fn hold<const N: usize>(provider: &MemoryProvider, names: [&str; N]) {
    provider.acquire(AcquireRequest::new(keys(names))).await.expect("free");
}

async fn release(provider: &MemoryProvider, name: &str) {
    assert!(provider.release(keys([name]), None).await.expect("open"), "{name} was held");
}

/// A request that needs no further poll until it is woken.
fn waiting<'a>(provider: &'a MemoryProvider, request: AcquireRequest, waker: &Waker) -> Call<'a> {
    match provider.begin_acquire(request, &mut Context::from_waker(waker)) {
        Begun::Waiting(call) => call,
        other => panic!("expected that it waits, not {other:?}"),
    }
}

fn poll(call: &mut Call<'_>, waker: &Waker) -> Poll<Result<Grant>> {
    call.as_mut().poll(&mut Context::from_waker(waker))
}

fn granted(call: &mut Call<'_>, names: &[&str]) {
    let Poll::Ready(Ok(grant)) = poll(call, Waker::noop()) else { panic!("it was granted") };
    let leased = grant.lease.keys().iter().map(|leased| leased.key.as_str());
    assert!(leased.eq(names.iter().copied()), "{:?}", grant.lease);
}

#[tokio::test]
async fn who_is_never_polled_again_is_woken_by_its_grant() {
    let provider = MemoryProvider::new();
    hold(&provider, ["k"]).await;
    let (counted, waker) = Counted::new();
    let mut call = waiting(&provider, endless(["k"]), &waker);
    assert_eq!(counted.woken(), 0);
    release(&provider, "k").await;
    assert_eq!(counted.woken(), 1);
    granted(&mut call, &["k"]);
}

#[tokio::test]
async fn who_is_never_polled_again_is_woken_by_a_close() {
    let provider = MemoryProvider::new();
    hold(&provider, ["k"]).await;
    let (counted, waker) = Counted::new();
    let mut call = waiting(&provider, endless(["k"]), &waker);
    provider.end_waits();
    assert_eq!(counted.woken(), 1);
    assert!(matches!(poll(&mut call, &waker), Poll::Ready(Err(Error::Closed { .. }))));
}

#[tokio::test]
async fn the_last_who_polled_is_woken_and_the_others_are_forgotten() {
    let provider = MemoryProvider::new();
    hold(&provider, ["k"]).await;
    let ((first, first_waker), (last, last_waker)) = (Counted::new(), Counted::new());
    let mut call = waiting(&provider, endless(["k"]), &first_waker);
    assert!(poll(&mut call, &last_waker).is_pending());
    drop(first_waker);
    assert_eq!(Arc::strong_count(&first), 1, "its waker isn't kept");
    release(&provider, "k").await;
    assert_eq!((first.woken(), last.woken()), (0, 1));
    granted(&mut call, &["k"]);
    drop(last_waker);
    assert_eq!(Arc::strong_count(&last), 1, "nor is this one");
}

#[tokio::test]
async fn who_waits_for_several_keys_is_woken_wherever_it_was_moved_to() {
    const KEYS: usize = 40;
    let provider = MemoryProvider::new();
    let names: [String; KEYS] = std::array::from_fn(|at| format!("key_{at:02}"));
    let names = names.each_ref().map(String::as_str);
    hold(&provider, names).await;
    let (counted, waker) = Counted::new();
    let mut call = waiting(&provider, endless(names), &waker);
    // Others come and go where it stood, and where it stands.
    for name in names {
        let passing = waiting(&provider, endless([name]), Waker::noop());
        assert!(poll(&mut call, &waker).is_pending(), "{name} is held");
        release(&provider, name).await;
        drop(passing);
    }
    assert!(counted.woken() > 0);
    granted(&mut call, &names);
}

#[tokio::test]
async fn each_of_many_learns_of_its_own_grant_though_they_come_and_go() {
    let provider = MemoryProvider::new();
    let name = |at: usize| format!("key_{}", at % 7);
    let owner = |at: usize| OwnerId::new(format!("owner_{at}")).expect("an owner");
    for at in 0..7 {
        hold(&provider, [&*name(at)]).await;
    }
    let mut random = 7_u64;
    let mut calls: Vec<(usize, Call<'_>)> = Vec::new();
    for round in 0..4000 {
        // Up to some hundreds, and down to none again.
        let grows = (round / 500) % 2 == 0;
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if grows {
            let request = endless([&*name(round)]).with_owner(owner(round));
            calls.push((round, waiting(&provider, request, Waker::noop())));
        } else if !calls.is_empty() {
            let at = (random >> 33) as usize % calls.len();
            drop(calls.swap_remove(at));
        }
    }
    for at in 0..60 {
        let request = endless([&*name(at)]).with_owner(owner(at));
        calls.push((at, waiting(&provider, request, Waker::noop())));
    }
    for at in 0..7 {
        release(&provider, &name(at)).await;
    }
    calls.sort_by_key(|(at, _)| *at);
    for (at, call) in &mut calls {
        let Poll::Ready(Ok(grant)) = poll(call, Waker::noop()) else { panic!("{at}: its turn") };
        assert_eq!(grant.lease.keys()[0].key.as_str(), name(*at));
        assert_eq!(grant.lease.owner, Some(owner(*at)));
        assert!(provider.release(keys([&*name(*at)]), Some(owner(*at))).await.expect("open"));
    }
    drop(calls);
    assert_eq!(provider.table_len(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_never_polled_again_is_woken_before_its_deadline() {
    let provider = MemoryProvider::new();
    hold(&provider, ["k", "other"]).await;
    // Somebody else has brought this runtime a reminder.
    let mut first = Box::pin(provider.acquire(endless(["other"]).with_wait(until(1000))));
    assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    tokio::task::yield_now().await;
    let (counted, waker) = Counted::new();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let request = endless(["k"]).with_wait(WaitUntil::Deadline(deadline));
    let mut call = waiting(&provider, request, &waker);
    // It goes on for whoever is left.
    drop(first);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(counted.woken(), 0);
    tokio::time::sleep_until(deadline).await;
    assert!(counted.woken() > 0);
    let answer = std::future::poll_fn(|context| call.as_mut().poll(context)).await;
    assert!(matches!(answer, Err(Error::TimedOut { .. })), "{answer:?}");
    assert!(tokio::time::Instant::now() < deadline + Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_is_near_is_its_own_tasks_to_keep() {
    let provider = MemoryProvider::new();
    hold(&provider, ["k"]).await;
    let request = endless(["k"]).with_wait(until(1));
    let begun = provider.begin_acquire(request, &mut Context::from_waker(Waker::noop()));
    assert!(matches!(begun, Begun::Asked(_)), "{begun:?}");
}

fn until(seconds: u64) -> WaitUntil {
    WaitUntil::Deadline(tokio::time::Instant::now() + Duration::from_secs(seconds))
}
