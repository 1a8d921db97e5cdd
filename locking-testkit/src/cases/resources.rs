//! What is left behind, and how much can be held.

use locking_core::Error;

use crate::fixture::Fixture;
use crate::support::{LONG, ms, until_within};

pub(crate) async fn many_keys_are_held_at_once(f: Fixture) {
    let count = f.scaled(100_000);
    let mut leases = Vec::with_capacity(count);
    for n in 0..count {
        match f.a.acquire(f.key(&n.to_string())).expire(LONG * 60).await {
            Ok(lease) => leases.push(lease),
            Err(error) => panic!("key {n} of {count}: {error}"),
        }
    }
    let far = f.key(&(count - 1).to_string());
    assert!(matches!(f.b.acquire(&far).await, Err(Error::Held { .. })), "all are really held");
    let other = f.b.acquire(f.key("other")).await.expect("others are not affected");
    assert!(f.b.release_lease(&other).await.expect("answered"));
    for lease in &leases {
        assert!(f.a.release_lease(lease).await.expect("answered"), "{lease:?}");
    }
}

pub(crate) async fn an_owner_with_few_keys_among_many_frees_just_those(f: Fixture) {
    let many: Vec<String> = (0..f.scaled(100_000)).map(|n| f.key(&format!("many{n}"))).collect();
    let few: Vec<String> = (0..100).map(|n| f.key(&format!("few{n}"))).collect();
    for keys in many.chunks(500) {
        f.a.acquire(keys).owner("many").await.expect("free");
    }
    f.a.acquire(&few).owner("few").await.expect("free");
    assert_eq!(f.b.release_all().owner("few").await.expect("answered"), 100);
    assert_eq!(f.b.release_all().owner("many").await.expect("answered"), many.len() as u64);
}

pub(crate) async fn nothing_is_left_behind(f: Fixture) {
    let baseline = f.entries().await;
    let rounds = f.scaled(100_000);
    for n in 0..rounds {
        let key = f.key(&format!("released{n}"));
        let owner = format!("owner{n}");
        f.a.acquire(&key).owner(&owner).expire(LONG).await.expect("free");
        assert!(f.b.release(&key).owner(&owner).await.expect("answered"));
        if n % 10 == 0 {
            f.a.acquire(f.key(&format!("expired{n}")))
                .owner(owner)
                .expire(ms(20))
                .await
                .expect("free");
            let refused = f.b.lock(f.key(&format!("expired{n}"))).timeout(ms(1)).await;
            drop(refused);
            f.a.execute([&key, &f.key("x")], |_| async {}).await.expect("the job ran");
        }
    }
    let limit = std::time::Duration::from_secs(20);
    if f.capabilities().has(locking_core::Capability::Lists) {
        until_within(limit, "nothing is listed", || async {
            f.b.list().await.expect("answered").is_empty()
        })
        .await;
    }
    until_within(limit, "the store is back at its baseline", || async {
        f.entries().await <= baseline
    })
    .await;
}

pub(crate) async fn many_waiters_of_one_key_leave_nothing_when_they_go(f: Fixture) {
    let (baseline, key) = (f.entries().await, f.key("k"));
    let held = f.b.acquire(&key).await.expect("free");
    let waiting: Vec<_> = (0..f.scaled(50_000))
        .map(|n| {
            let (module, keys) = (f.a.clone(), [key.clone(), f.key(&format!("also{n}"))]);
            tokio::spawn(async move { module.acquire(keys).wait(LONG).await })
        })
        .collect();
    tokio::time::sleep(ms(100)).await;
    for waiter in &waiting {
        waiter.abort();
    }
    for waiter in waiting {
        assert!(waiter.await.is_err_and(|end| end.is_cancelled()), "it still waited");
    }
    assert!(f.b.release_lease(&held).await.expect("answered"));
    let limit = std::time::Duration::from_secs(20);
    until_within(limit, "the store is back at its baseline", || async {
        f.entries().await <= baseline
    })
    .await;
    crate::support::until_free(&f.a, &key).await;
}
