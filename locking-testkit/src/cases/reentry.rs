//! An owner comes back to what it holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use locking_core::{Error, OwnerId};
use tokio::task::JoinSet;

use crate::fixture::Fixture;
use crate::support::{LONG, SHORT, a_moment, always, assert_answer, is_free, let_expire, ms, soon};

pub(crate) async fn the_same_owner_reenters_with_the_same_token(f: Fixture) {
    let key = f.key("k");
    let first = f.a.acquire(&key).owner("o").await.expect("free");
    for module in [&f.a, &f.b] {
        let again = module.acquire(&key).owner("o").await.expect("its own");
        assert_eq!(again.token(), first.token());
        assert!(!again.keys()[0].taken, "re-entered, not taken");
    }
}

pub(crate) async fn a_longer_expiry_extends_the_hold(f: Fixture) {
    let key = f.key("k");
    f.a.acquire(&key).owner("o").expire(SHORT).await.expect("free");
    f.a.acquire(&key).owner("o").expire(LONG).await.expect("its own");
    tokio::time::sleep(SHORT + ms(50)).await;
    assert_answer!(f.b.acquire(&key).await, Err(Error::Held { .. }), "extended");
}

pub(crate) async fn a_shorter_expiry_changes_nothing(f: Fixture) {
    let key = f.key("k");
    f.a.acquire(&key).owner("o").expire(LONG).await.expect("free");
    f.a.acquire(&key).owner("o").expire(ms(50)).await.expect("its own");
    tokio::time::sleep(ms(120)).await;
    assert_answer!(f.b.acquire(&key).await, Err(Error::Held { .. }), "not shortened");
}

pub(crate) async fn an_absent_expiry_changes_nothing(f: Fixture) {
    let (ending, lasting) = (f.key("ending"), f.key("lasting"));
    f.a.acquire(&ending).owner("o").expire(SHORT).await.expect("free");
    f.a.acquire(&ending).owner("o").await.expect("its own");
    f.b.acquire(&ending).wait(SHORT + ms(1000)).await.expect("free after its expiry");

    f.a.acquire(&lasting).owner("o").await.expect("free");
    f.a.acquire(&lasting).owner("o").expire(ms(50)).await.expect("its own");
    tokio::time::sleep(ms(120)).await;
    assert_answer!(f.b.acquire(&lasting).await, Err(Error::Held { .. }), "it never expires");
}

pub(crate) async fn there_is_no_hold_count(f: Fixture) {
    let key = f.key("k");
    for _ in 0..3 {
        f.a.acquire(&key).owner("o").await.expect("its own");
    }
    assert!(f.a.release(&key).owner("o").await.expect("answered"), "one release");
    assert!(is_free(&f.b, &key).await, "frees it");
}

pub(crate) async fn an_owners_queued_requests_are_granted_together(f: Fixture) {
    let key = f.key("k");
    f.b.acquire(&key).owner("first").await.expect("free");
    let waiting: Vec<_> = (0..4)
        .map(|n| {
            let module = if n % 2 == 0 { f.a.clone() } else { f.b.clone() };
            let key = key.clone();
            tokio::spawn(async move { module.acquire(key).owner("o").wait(LONG).await })
        })
        .collect();
    a_moment().await;
    assert!(f.b.release(&key).owner("first").await.expect("answered"));
    let mut tokens = Vec::new();
    for waiter in waiting {
        let lease = soon("a waiter of the owner that holds the key", waiter).await;
        tokens.push(lease.expect("no panic").expect("granted").token());
    }
    assert!(tokens.windows(2).all(|pair| pair[0] == pair[1]), "one hold: {tokens:?}");
}

pub(crate) async fn an_owners_queued_requests_are_granted_past_others(f: Fixture) {
    let key = f.key("k");
    f.a.acquire(&key).owner("first").await.expect("free");
    let mut waiting = Vec::new();
    for owner in ["o", "x", "o"] {
        let (module, key) = (f.b.clone(), key.clone());
        waiting.push(tokio::spawn(async move {
            let lease = module.acquire(&key).owner(owner).wait(LONG).await.expect("granted");
            if owner == "x" {
                // It may be the first where nobody keeps the order, and is in nobody's way then.
                assert!(module.release_lease(&lease).await.expect("answered"), "held");
            }
            lease.token()
        }));
        a_moment().await;
    }
    assert!(f.a.release(&key).owner("first").await.expect("answered"));
    let last = soon("the owner's last request", waiting.remove(2)).await.expect("no panic");
    let first = soon("its first request", waiting.remove(0)).await.expect("no panic");
    assert_eq!(first, last, "one hold");
    assert!(f.a.release(&key).owner("o").await.expect("answered"));
    let other = soon("the other owner", waiting.remove(0)).await.expect("no panic");
    assert_ne!(other, first, "a hold of its own");
}

pub(crate) async fn an_owner_does_not_queue_behind_those_who_wait(f: Fixture) {
    let key = f.key("k");
    let first = f.a.acquire(&key).owner("o").await.expect("free");
    let (module, wanted) = (f.b.clone(), key.clone());
    let waiting = tokio::spawn(async move { module.acquire(wanted).owner("x").wait(LONG).await });
    a_moment().await;
    for module in [&f.a, &f.b] {
        let again = soon("without a wait", module.acquire(&key).owner("o")).await;
        assert_eq!(again.expect("its own").token(), first.token());
        let again = soon("with a wait", module.acquire(&key).owner("o").wait(LONG)).await;
        assert_eq!(again.expect("its own").token(), first.token());
    }
    assert!(!waiting.is_finished(), "it waits");
    assert!(f.a.release(&key).owner("o").await.expect("answered"));
    soon("the waiter", waiting).await.expect("no panic").expect("granted");
}

pub(crate) async fn a_lease_says_what_it_took_and_what_it_reentered(f: Fixture) {
    let (old, new) = (f.key("1"), f.key("2"));
    let first = f.a.acquire(&old).owner("o").await.expect("free");
    let both = f.a.acquire([&new, &old]).owner("o").await.expect("free or its own");
    let taken: Vec<bool> = both.keys().iter().map(|leased| leased.taken).collect();
    assert_eq!(taken, [false, true], "in byte order of the keys");
    assert_eq!(both.token_of(&old), first.token_of(&old), "the re-entered key keeps its token");
    assert!(both.token_of(&new).is_some(), "the taken one has a token too");
}

pub(crate) async fn an_expired_hold_is_taken_anew_not_reentered(f: Fixture) {
    let key = f.key("k");
    let first = f.a.acquire(&key).owner("o").expire(ms(60)).await.expect("free");
    let_expire(ms(60)).await;
    let again = f.a.acquire(&key).owner("o").await.expect("free");
    always!(again.token() > first.token(), "{} after {}", again.token(), first.token());
    assert!(again.keys()[0].taken);
}

pub(crate) async fn a_waiter_does_not_reenter_its_own_grant(f: Fixture) {
    let (key, inside) = (f.key("k"), Arc::new(AtomicUsize::new(0)));
    let (mut working, rounds) = (JoinSet::new(), f.scaled(20_000));
    for n in 0..4 {
        let (module, key, inside) = (f.a.clone(), key.clone(), Arc::clone(&inside));
        working.spawn(async move {
            let alone = async || {
                always!(inside.fetch_add(1, Ordering::SeqCst) == 0, "two holders");
                tokio::task::yield_now().await;
                always!(inside.fetch_sub(1, Ordering::SeqCst) == 1, "two holders");
            };
            for _ in 0..rounds {
                if n % 2 == 0 {
                    let guard = module.lock(&key).timeout(LONG).await.expect("its turn comes");
                    alone().await;
                    guard.release().await.expect("held to the end");
                } else {
                    let acquire = module.acquire(&key).owner(OwnerId::fresh()).expire(LONG);
                    let lease = acquire.wait(LONG).await.expect("its turn comes");
                    assert_eq!(lease.taken().count(), 1, "no other hold is this owner's");
                    alone().await;
                    assert!(module.release_lease(&lease).await.expect("answered"), "held");
                }
                // So that it is mostly free when somebody comes.
                tokio::time::sleep(Duration::from_micros(fastrand::u64(..3_000))).await;
            }
        });
    }
    while let Some(ended) = working.join_next().await {
        ended.expect("no panic");
    }
}
