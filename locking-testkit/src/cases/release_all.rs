//! Freeing many holds at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use locking_core::{Error, LossReason};
use tokio::sync::Notify;

use crate::fixture::Fixture;
use crate::support::{
    LONG, SHORT, a_moment, assert_answer, is_free, let_expire, ms, soon, within, work,
};

pub(crate) async fn an_owners_leases_are_freed_and_counted(f: Fixture) {
    let mine: Vec<String> = (0..10).map(|n| f.key(&format!("m{n}"))).collect();
    f.a.acquire(&mine[..9]).owner("me").await.expect("free");
    f.b.acquire(&mine[9]).owner("me").await.expect("free");
    f.b.acquire([f.key("t"), f.key("u")]).owner("them").await.expect("free");
    f.b.acquire(f.key("anon")).await.expect("free");
    assert_eq!(f.a.release_all().owner("me").await.expect("answered"), 10);
    for key in &mine {
        assert!(is_free(&f.b, key).await, "{key}");
    }
    for name in ["t", "u", "anon"] {
        assert_answer!(f.a.acquire(f.key(name)).await, Err(Error::Held { .. }), "{name}");
    }
    assert_eq!(f.a.release_all().owner("me").await.expect("answered"), 0, "nothing is left");
}

pub(crate) async fn an_owners_leases_that_were_waited_for_are_freed_too(f: Fixture) {
    let (given_back, expired) = (f.key("given back"), f.key("expired"));
    f.a.acquire(&given_back).owner("them").await.expect("free");
    f.a.acquire(&expired).owner("them").expire(ms(600)).await.expect("free");
    let waiting = [&given_back, &expired].map(|key| {
        let (module, key) = (f.b.clone(), key.clone());
        tokio::spawn(async move { module.acquire(key).owner("me").expire(LONG).wait(LONG).await })
    });
    a_moment().await;
    assert!(f.a.release(&given_back).owner("them").await.expect("answered"));
    for waiting in waiting {
        within(LONG, "the waiter", waiting).await.expect("no panic").expect("granted");
    }
    assert_eq!(f.a.release_all().owner("me").await.expect("answered"), 2);
    for key in [given_back, expired] {
        assert!(is_free(&f.a, &key).await, "{key}");
    }
}

pub(crate) async fn without_an_owner_every_lease_is_freed_and_no_guard(f: Fixture) {
    let (owned, anonymous, guarded) = (f.key("1"), f.key("2"), f.key("3"));
    f.a.acquire(&owned).owner("o").await.expect("free");
    f.b.acquire(&anonymous).await.expect("free");
    let guard = f.b.lock(&guarded).await.expect("free");
    assert_eq!(f.a.release_all().await.expect("answered"), 2);
    assert!(is_free(&f.a, &owned).await && is_free(&f.a, &anonymous).await);
    assert_answer!(f.a.acquire(&guarded).await, Err(Error::Held { .. }), "what runs goes on");
    guard.release().await.expect("held to the end");
}

pub(crate) async fn hundreds_of_leases_are_freed_and_counted(f: Fixture) {
    let keys: Vec<String> = (0..310).map(|n| f.key(&n.to_string())).collect();
    for (n, some) in keys.chunks(5).enumerate() {
        let acquire = f.a.acquire(some).expire(LONG);
        match n % 2 {
            0 => acquire.owner(format!("owner{n}")).await.expect("free"),
            _ => acquire.await.expect("free"),
        };
    }
    assert_eq!(f.b.release_all().await.expect("answered"), keys.len() as u64);
    f.b.acquire(&keys).await.expect("all are free");
}

pub(crate) async fn with_an_owner_nothing_that_runs_for_others_is_freed(f: Fixture) {
    let [mine, theirs, anonymous, guarded, running] = ["1", "2", "3", "4", "5"].map(|n| f.key(n));
    f.a.acquire(&mine).owner("me").await.expect("free");
    f.a.acquire(&theirs).owner("them").await.expect("free");
    f.b.acquire(&anonymous).await.expect("free");
    let guard = f.b.lock(&guarded).await.expect("free");
    let other = f.b.clone();
    let job = |_| async move { other.release_all().owner("me").including_running().await };
    let freed = f.a.execute(&running, job).await.expect("the job's key is not freed");
    assert_eq!(freed.expect("answered"), 1);
    assert!(is_free(&f.b, &mine).await);
    for key in [&theirs, &anonymous, &guarded] {
        assert_answer!(f.a.acquire(key).await, Err(Error::Held { .. }), "{key} is another's");
    }
    guard.release().await.expect("held to the end");
}

pub(crate) async fn leases_are_freed_together_with_what_runs(f: Fixture) {
    let [owned, anonymous, guarded] = ["1", "2", "3"].map(|name| f.key(name));
    f.a.acquire(&owned).owner("o").await.expect("free");
    f.b.acquire(&anonymous).await.expect("free");
    let guard = f.b.lock(&guarded).await.expect("free");
    assert_eq!(f.a.release_all().including_running().await.expect("answered"), 3);
    for key in [&owned, &anonymous, &guarded] {
        assert!(is_free(&f.a, key).await, "{key}");
    }
    assert_answer!(guard.release().await, Err(Error::Lost { .. }), "it was freed by force");
}

pub(crate) async fn a_guard_is_freed_by_its_owners_name_when_asked_for_what_runs(f: Fixture) {
    let key = f.key("k");
    let guard = f.a.lock(&key).await.expect("free");
    let owner = guard.lease().owner.clone().expect("a guard has an owner");
    assert_eq!(f.b.release_all().owner(&owner).await.expect("answered"), 0, "not asked for");
    assert_answer!(f.b.acquire(&key).await, Err(Error::Held { .. }), "what runs goes on");
    let freed = f.b.release_all().owner(&owner).including_running().await;
    assert_eq!(freed.expect("answered"), 1, "asked for");
    assert!(is_free(&f.b, &key).await);
    assert_answer!(guard.release().await, Err(Error::Lost { .. }), "it was freed by force");
}

pub(crate) async fn what_runs_is_freed_when_asked_for_and_learns_it(f: Fixture) {
    let key = f.key("k");
    let guard = f.b.lock(&key).lease(ms(900)).await.expect("free");
    assert_eq!(f.a.release_all().including_running().await.expect("answered"), 1);
    assert!(is_free(&f.a, &key).await);
    // At its next renewal at the latest: a third of the lease.
    soon("the loss", guard.lost()).await;
    assert_answer!(guard.check(), Err(Error::Lost { .. }), "it knows");
    assert_answer!(guard.release().await, Err(Error::Lost { .. }), "and says so");
}

pub(crate) async fn a_job_that_is_freed_by_force_is_cancelled(f: Fixture) {
    let (module, key, finished) = (f.b.clone(), f.key("k"), Arc::new(AtomicBool::new(false)));
    let (wanted, done, begun) = (key.clone(), Arc::clone(&finished), Arc::new(Notify::new()));
    let begin = Arc::clone(&begun);
    let running = tokio::spawn(async move {
        let job = |_| async move {
            work(begin, LONG).await;
            done.store(true, Ordering::SeqCst);
        };
        module.execute(wanted, job).lease(ms(900)).await
    });
    within(LONG, "the job's begin", begun.notified()).await;
    assert_eq!(f.a.release_all().including_running().await.expect("answered"), 1);
    let answer = soon("the job's end", running).await.expect("no panic");
    assert_answer!(answer, Err(Error::Lost { reason, .. }) if reason != LossReason::Closed, "lost");
    assert!(!finished.load(Ordering::SeqCst), "cancelled");
}

pub(crate) async fn its_waiters_get_the_freed_keys(f: Fixture) {
    let key = f.key("k");
    f.a.acquire(&key).owner("o").await.expect("free");
    let (module, wanted) = (f.b.clone(), key.clone());
    let waiting = tokio::spawn(async move { module.acquire(wanted).owner("w").wait(LONG).await });
    a_moment().await;
    assert_eq!(f.a.release_all().owner("o").await.expect("answered"), 1);
    soon("the waiter", waiting).await.expect("no panic").expect("granted");
}

pub(crate) async fn an_expired_lease_is_not_counted(f: Fixture) {
    let key = f.key("k");
    f.a.acquire(&key).owner("o").expire(ms(60)).await.expect("free");
    let_expire(ms(60)).await;
    assert_eq!(f.a.release_all().owner("o").await.expect("answered"), 0);
}

pub(crate) async fn an_expired_lease_is_not_freed_with_its_successor(f: Fixture) {
    let (waited_for, asked_for) = (f.key("1"), f.key("2"));
    for key in [&waited_for, &asked_for] {
        f.a.acquire(key).owner("old").expire(ms(60)).await.expect("free");
    }
    let first = f.b.acquire(&waited_for).owner("new").wait(LONG).await.expect("expired");
    let_expire(ms(60)).await;
    let second = f.b.acquire(&asked_for).owner("new").await.expect("expired");
    assert_eq!(f.a.release_all().owner("old").await.expect("answered"), 0, "it holds nothing");
    for next in [first, second] {
        f.b.extend(&next, LONG).await.expect("the next holder holds on");
    }
    assert_eq!(f.a.release_all().owner("new").await.expect("answered"), 2);
}

pub(crate) async fn a_lease_that_was_extended_is_freed_after_its_first_expiry(f: Fixture) {
    let (extended, reentered) = (f.key("1"), f.key("2"));
    let lease = f.a.acquire(&extended).owner("o").expire(SHORT).await.expect("free");
    f.a.acquire(&reentered).owner("o").expire(SHORT).await.expect("free");
    f.a.extend(&lease, LONG).await.expect("held");
    f.a.acquire(&reentered).owner("o").expire(LONG).await.expect("its own");
    let_expire(SHORT).await;
    assert_eq!(f.b.release_all().owner("o").await.expect("answered"), 2);
    assert!(is_free(&f.b, &extended).await && is_free(&f.b, &reentered).await);
}

pub(crate) async fn a_key_that_changes_hands_meanwhile_stays_held(f: Fixture) {
    // While the call goes on, each of the old owner's keys goes to a new one: by being freed, or by
    // its holder's own release.
    for round in 0..f.scaled(1_000).max(5) {
        let key = |n: usize| f.key(&format!("{round}/{n:03}"));
        let keys: Vec<String> = (0..40).map(key).collect();
        f.a.acquire(&keys).owner("old").await.expect("free");
        let changing: Vec<_> = keys
            .iter()
            .map(|key| {
                let (module, key) = (f.b.clone(), key.clone());
                tokio::spawn(async move {
                    // Answers whether it came before the other.
                    let _ = module.release(&key).owner("old").await.expect("answered");
                    module.acquire(key).owner("new").wait(LONG).await
                })
            })
            .collect();
        f.a.release_all().owner("old").await.expect("answered");
        for taken in changing {
            let lease = within(LONG, "the new owner", taken).await.expect("no panic");
            let lease = lease.expect("granted");
            f.b.extend(&lease, LONG).await.expect("its hold was not freed with the old one");
        }
    }
}

pub(crate) async fn waiters_of_freed_keys_are_not_freed_with_them(f: Fixture) {
    let keys: Vec<String> = (0..40).map(|n| f.key(&format!("{n:03}"))).collect();
    f.a.acquire(&keys).owner("old").await.expect("free");
    let waiting: Vec<_> = keys
        .iter()
        .map(|key| {
            let (module, key) = (f.b.clone(), key.clone());
            tokio::spawn(async move { module.acquire(key).owner("new").wait(LONG).await })
        })
        .collect();
    a_moment().await;
    let freed = f.a.release_all().await.expect("answered");
    assert_eq!(freed, keys.len() as u64, "each was freed once");
    for waiter in waiting {
        let lease = within(LONG, "a waiter", waiter).await.expect("no panic").expect("granted");
        f.b.extend(&lease, LONG).await.expect("its hold was not freed with the old one");
    }
}
