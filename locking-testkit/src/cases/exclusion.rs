//! One holder at a time, whatever kind of hold it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use locking_core::{Error, LockingModule};
use tokio::task::JoinSet;

use crate::fixture::Fixture;
use crate::support::{LONG, a_moment, always, assert_answer, ms, soon};

pub(crate) async fn a_free_key_is_granted(f: Fixture) {
    let lease = soon("a free key", f.a.acquire(f.key("k"))).await.expect("nobody holds it");
    assert_eq!(lease.keys().len(), 1);
    assert!(lease.keys()[0].taken, "it was taken, not re-entered");
}

pub(crate) async fn another_owner_is_refused_at_once_and_told_the_key(f: Fixture) {
    let key = f.key("k");
    f.a.acquire(&key).owner("first").await.expect("free");
    let refused = soon("a refusal", f.b.acquire(&key).owner("second")).await;
    let error = refused.expect_err("it is held");
    assert_eq!(error.to_string(), format!("failed to acquire lock for key \"{key}\""));
    assert_answer!(error, Error::Held { key: blocking, .. } if blocking.as_str() == key, "held");
}

pub(crate) async fn owners_in_one_client_exclude_each_other(f: Fixture) {
    let key = f.key("k");
    f.a.acquire(&key).owner("first").await.expect("free");
    assert_answer!(f.a.acquire(&key).owner("second").await, Err(Error::Held { .. }), "same client");
}

pub(crate) async fn an_anonymous_lease_is_never_reentered(f: Fixture) {
    let key = f.key("k");
    f.a.acquire(&key).await.expect("free");
    assert_answer!(f.a.acquire(&key).await, Err(Error::Held { .. }), "not even by its own task");
    assert_answer!(f.b.acquire(&key).await, Err(Error::Held { .. }), "nor by another client");
    assert_answer!(f.b.acquire(&key).owner("o").await, Err(Error::Held { .. }), "nor by an owner");
}

pub(crate) async fn of_many_anonymous_acquires_at_once_one_succeeds(f: Fixture) {
    one_of_many(&f, |_| None).await;
}

pub(crate) async fn of_many_owners_at_once_one_succeeds(f: Fixture) {
    one_of_many(&f, |n| Some(format!("owner-{n}"))).await;
}

async fn one_of_many(f: &Fixture, owner: impl Fn(usize) -> Option<String>) {
    for round in 0..20 {
        let key = f.key(&format!("k{round}"));
        let mut asking = JoinSet::new();
        for n in 0..16 {
            let (module, key, owner) = (side(f, n), key.clone(), owner(n));
            asking.spawn(async move {
                let acquire = module.acquire(key);
                match owner {
                    Some(owner) => acquire.owner(owner).await.is_ok(),
                    None => acquire.await.is_ok(),
                }
            });
        }
        let granted = asking.join_all().await.into_iter().filter(|granted| *granted).count();
        always!(granted <= 1, "round {round}: {granted} holders");
        assert_eq!(granted, 1, "round {round}");
    }
}

fn side(f: &Fixture, n: usize) -> LockingModule {
    if n.is_multiple_of(2) { f.a.clone() } else { f.b.clone() }
}

pub(crate) async fn a_lease_keeps_guards_out(f: Fixture) {
    let key = f.key("k");
    f.a.acquire(&key).owner("o").await.expect("free");
    for module in [&f.a, &f.b] {
        let refused = module.lock(&key).timeout(ms(20)).await;
        assert_answer!(refused, Err(Error::TimedOut { .. }), "a guard under a lease");
    }
}

pub(crate) async fn a_guard_keeps_leases_and_guards_out(f: Fixture) {
    let key = f.key("k");
    let guard = f.a.lock(&key).await.expect("free");
    for module in [&f.a, &f.b] {
        assert_answer!(module.acquire(&key).await, Err(Error::Held { .. }), "an anonymous lease");
        let owned = module.acquire(&key).owner("o").await;
        assert_answer!(owned, Err(Error::Held { .. }), "an owned lease");
        let refused = module.lock(&key).timeout(ms(20)).await;
        assert_answer!(refused, Err(Error::TimedOut { .. }), "a second guard");
    }
    guard.release().await.expect("held to the end");
}

pub(crate) async fn a_guard_is_not_reentered_by_its_owners_name(f: Fixture) {
    let key = f.key("k");
    let guard = f.a.lock(&key).await.expect("free");
    let owner = guard.lease().owner.clone().expect("a guard has an owner");
    assert_answer!(f.a.acquire(&key).owner(owner).await, Err(Error::Held { .. }), "by its name");
}

pub(crate) async fn a_running_job_keeps_everybody_out(f: Fixture) {
    let (key, inner, other) = (f.key("k"), f.a.clone(), f.b.clone());
    let asked = key.clone();
    f.a.execute(&key, |_| async move {
        for module in [inner, other] {
            assert_answer!(module.acquire(&asked).await, Err(Error::Held { .. }), "a lease");
            let refused = module.lock(&asked).timeout(ms(20)).await;
            assert_answer!(refused, Err(Error::TimedOut { .. }), "a guard");
        }
    })
    .await
    .expect("the job ran");
}

pub(crate) async fn ten_buyers_buy_the_last_five_items_once_each(f: Fixture) {
    let (key, stock, sold) = (f.key("stock"), Arc::new(AtomicUsize::new(5)), AtomicUsize::new(0));
    let sold = Arc::new(sold);
    let mut buyers = JoinSet::new();
    for n in 0..10 {
        let (module, key) = (side(&f, n), key.clone());
        let (stock, sold) = (Arc::clone(&stock), Arc::clone(&sold));
        buyers.spawn(async move {
            let buy = |_| async move {
                let left = stock.load(Ordering::SeqCst);
                tokio::time::sleep(ms(2)).await;
                if left > 0 {
                    stock.store(left - 1, Ordering::SeqCst);
                    sold.fetch_add(1, Ordering::SeqCst);
                }
            };
            module.execute(key, buy).timeout(LONG).await.expect("every buyer has a turn");
        });
    }
    buyers.join_all().await;
    let (left, sold) = (stock.load(Ordering::SeqCst), sold.load(Ordering::SeqCst));
    always!((left, sold) == (0, 5), "{sold} were sold, {left} are left");
}

pub(crate) async fn holders_of_different_keys_are_not_in_each_others_way(f: Fixture) {
    let guards = [f.a.lock(f.key("a")).await, f.b.lock(f.key("b")).await];
    a_moment().await;
    for guard in guards {
        guard.expect("nobody holds that key").check().expect("still held");
    }
}
