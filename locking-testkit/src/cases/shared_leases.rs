//! Leases that several calls of one owner were granted, of which some give up before they hear of it.

use std::pin::Pin;
use std::time::Duration;

use locking_core::{Lease, LockingModule, Result};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::black_holes::behind_a_proxy;
use super::hangs::until_usable;
use crate::faults::{Direction, Fault};
use crate::fixture::Fixture;
use crate::support::{LONG, a_moment, ms, soon, until_free};

/// A call of the owner, that is polled when the case says so.
type Call = Pin<Box<dyn Future<Output = Result<Lease>> + Send>>;

fn call(module: &LockingModule, key: &str) -> Call {
    let (module, key) = (module.clone(), key.to_owned());
    Box::pin(async move { module.acquire(key).owner("o").expire(LONG).wait(LONG).await })
}

/// Polls a call until it waits.
async fn wait_with(calls: &mut [Call]) {
    for call in calls {
        assert!(timeout(ms(30), call).await.is_err(), "the key is held");
    }
}

/// As many times as this, at the same time: each takes as long as it takes to hear of a release.
async fn each_round<F>(f: &Fixture, round: impl Fn(LockingModule, LockingModule, String) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut rounds = JoinSet::new();
    for n in 0..f.scaled(1_000) {
        let (one, other) = if n % 2 == 0 { (&f.a, &f.b) } else { (&f.a, &f.a) };
        rounds.spawn(round(one.clone(), other.clone(), f.key(&n.to_string())));
    }
    while let Some(ended) = rounds.join_next().await {
        ended.expect("no panic");
    }
}

pub(crate) async fn stay_when_a_call_that_waited_gives_up(f: Fixture) {
    each_round(&f, |one, other, key| async move {
        let held = other.acquire(&key).expire(LONG).await.expect("free");
        let mut leaving = [call(&one, &key)];
        wait_with(&mut leaving).await;
        let staying = tokio::spawn(call(&other, &key));
        a_moment().await;
        assert!(other.release_lease(&held).await.expect("answered"));
        // It was granted to both, and only one hears of it.
        let lease = soon("the other call", staying).await.expect("no panic").expect("granted");
        drop(leaving);
        a_moment().await;
        let extended = other.extend(&lease, LONG).await;
        extended.expect("a lease ends by its release or its expiry");
        // Whether this call took it or entered it: it is the only one that is left.
        assert!(other.release_lease(&lease).await.expect("answered"), "held to the end");
        until_free(&one, &key).await;
    })
    .await;
}

pub(crate) async fn end_when_all_calls_that_waited_give_up(f: Fixture) {
    each_round(&f, |one, other, key| async move {
        let held = other.acquire(&key).expire(LONG).await.expect("free");
        let mut leaving = [call(&one, &key), call(&other, &key), call(&other, &key)];
        wait_with(&mut leaving).await;
        assert!(other.release_lease(&held).await.expect("answered"));
        // Whoever is told by asking again is told by then.
        tokio::time::sleep(Duration::from_micros(fastrand::u64(..700_000))).await;
        for call in leaving {
            drop(call);
            tokio::time::sleep(Duration::from_micros(fastrand::u64(..3_000))).await;
        }
        until_free(&other, &key).await;
    })
    .await;
}

pub(crate) async fn stay_when_a_call_that_is_not_answered_gives_up(f: Fixture) {
    let (proxy, module) = behind_a_proxy(&f).await;
    for round in 0..f.scaled(300) {
        let key = f.key(&round.to_string());
        // The call that gives up takes the lease, or enters it.
        if round % 2 == 1 {
            call(&f.b, &key).await.expect("free");
        }
        proxy.inject(Fault::Hold { direction: Direction::ToClient });
        let leaving = tokio::spawn(call(&module, &key));
        a_moment().await;
        let staying = call(&f.b, &key).await.expect("its owner's");
        leaving.abort();
        proxy.restore();
        until_usable(&module, &f.key("again")).await;
        a_moment().await;
        let extended = f.b.extend(&staying, LONG).await;
        extended.expect("a lease ends by its release or its expiry");
        assert!(f.b.release(&key).owner("o").await.expect("answered"), "held to the end");
    }
}

pub(crate) async fn end_when_all_calls_that_are_not_answered_give_up(f: Fixture) {
    let (proxy, module) = behind_a_proxy(&f).await;
    for round in 0..f.scaled(300) {
        let key = f.key(&round.to_string());
        proxy.inject(Fault::Hold { direction: Direction::ToClient });
        let leaving: Vec<_> = (0..3).map(|_| tokio::spawn(call(&module, &key))).collect();
        a_moment().await;
        for call in leaving {
            call.abort();
        }
        proxy.restore();
        until_usable(&module, &f.key("again")).await;
        until_free(&f.b, &key).await;
    }
}
