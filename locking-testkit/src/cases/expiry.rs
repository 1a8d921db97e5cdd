//! Leases that end by themselves.

use std::time::Duration;

use locking_core::Error;
use tokio::time::Instant;

use crate::fixture::Fixture;
use crate::support::{
    LONG, SHORT, SOON, a_moment, assert_answer, is_free, let_expire, ms, soon, until_free, within,
};

pub(crate) async fn an_expired_key_is_free_at_once(f: Fixture) {
    let key = f.key("k");
    let began = Instant::now();
    f.a.acquire(&key).owner("o").expire(SHORT).await.expect("free");
    let granted = Instant::now();
    assert_answer!(f.b.acquire(&key).await, Err(Error::Held { .. }), "not before its time");
    until_free(&f.b, &key).await;
    assert!(began.elapsed() >= SHORT, "not before its time: {:?}", began.elapsed());
    assert!(granted.elapsed() < SHORT + ms(250), "nor long after it: {:?}", granted.elapsed());
}

pub(crate) async fn a_waiter_gets_an_expired_key(f: Fixture) {
    let key = f.key("k");
    let began = Instant::now();
    f.a.acquire(&key).expire(SHORT).await.expect("free");
    within(SHORT + ms(1000), "the waiter", f.b.acquire(&key).wait(LONG)).await.expect("granted");
    assert!(began.elapsed() >= SHORT, "not before its time: {:?}", began.elapsed());
}

pub(crate) async fn a_waiter_for_several_keys_gets_them_when_the_last_expires(f: Fixture) {
    for last in 0..3 {
        let keys = [0, 1, 2].map(|n| f.key(&format!("{last}/{n}")));
        let began = Instant::now();
        for (n, key) in keys.iter().enumerate() {
            let expiry = if n == last { SHORT } else { SHORT / 3 };
            f.a.acquire(key).expire(expiry).await.expect("free");
        }
        let waiting = f.b.acquire(&keys).wait(LONG);
        within(SHORT + SOON, "the waiter", waiting).await.expect("granted");
        assert!(began.elapsed() >= SHORT, "not before its time: {:?}", began.elapsed());
    }
}

pub(crate) async fn waiters_get_a_key_that_expires_time_and_again(f: Fixture) {
    // Nobody gives the key back: each waiter has to come in by the expiry of the one before.
    let (key, began) = (f.key("k"), Instant::now());
    f.a.acquire(&key).expire(ms(80)).await.expect("free");
    let waiting: Vec<_> = (0..5)
        .map(|n| {
            let module = if n % 2 == 0 { f.a.clone() } else { f.b.clone() };
            let key = key.clone();
            tokio::spawn(async move { module.acquire(key).expire(ms(80)).wait(LONG).await })
        })
        .collect();
    for waiter in waiting {
        within(ms(5 * 1080), "a waiter", waiter).await.expect("no panic").expect("granted");
    }
    assert!(began.elapsed() >= ms(400), "each held for its time: {:?}", began.elapsed());
}

pub(crate) async fn a_waiter_behind_a_longer_lease_gets_a_shorter_ones_key(f: Fixture) {
    let key = f.key("k");
    let first = f.a.acquire(&key).expire(LONG).await.expect("free");
    let queue = |expire: Duration| {
        let (module, key) = (f.b.clone(), key.clone());
        tokio::spawn(async move { module.acquire(key).expire(expire).wait(LONG).await })
    };
    let second = queue(ms(100));
    a_moment().await;
    let third = queue(LONG);
    a_moment().await;
    assert!(f.a.release_lease(&first).await.expect("answered"));
    soon("the second", second).await.expect("no panic").expect("granted");
    let third = within(ms(1100), "the third, at the second's expiry", third).await;
    third.expect("no panic").expect("granted");
}

pub(crate) async fn a_fraction_of_a_second_counts(f: Fixture) {
    let (short, long) = (f.key("1"), f.key("2"));
    f.a.acquire(&short).expire(ms(150)).await.expect("free");
    f.a.acquire(&long).expire(Duration::from_secs_f64(1.5)).await.expect("free");
    tokio::time::sleep(ms(250)).await;
    assert!(is_free(&f.b, &short).await, "a lease of 150 ms is still held after 250 ms");
    assert!(!is_free(&f.b, &long).await, "a lease of 1.5 s is over after 250 ms");
    tokio::time::sleep(ms(950)).await;
    assert!(!is_free(&f.b, &long).await, "a lease of 1.5 s is over after 1.2 s");
}

pub(crate) async fn each_acquisition_has_its_own_expiry(f: Fixture) {
    let keys = [f.key("1"), f.key("2"), f.key("3")];
    f.a.acquire(&keys[0]).owner("o").expire(ms(100)).await.expect("free");
    f.a.acquire(&keys[1]).owner("o").await.expect("free");
    f.a.acquire(&keys[2]).owner("o").expire(LONG).await.expect("free");
    tokio::time::sleep(ms(250)).await;
    assert!(is_free(&f.b, &keys[0]).await);
    assert!(!is_free(&f.b, &keys[1]).await, "without an expiry");
    assert!(!is_free(&f.b, &keys[2]).await, "with a longer one");
}

pub(crate) async fn the_longest_times_are_accepted(f: Fixture) {
    let month = Duration::from_secs(31 * 86_400);
    for (name, time) in [("month", month), ("century", locking_core::Expiry::MAX)] {
        let key = f.key(name);
        let lease = f.a.acquire(&key).expire(time).wait(time).await.expect("free");
        assert!(!is_free(&f.b, &key).await, "not free at once: {name}");
        let waiting = f.b.acquire(&key).wait(time);
        let waited = tokio::time::timeout(ms(60), waiting.into_future()).await;
        assert!(waited.is_err(), "the wait lasts: {waited:?}");
        assert!(f.a.release_lease(&lease).await.expect("answered"));
    }
}

pub(crate) async fn leases_last_when_their_client_is_closed_or_gone(f: Fixture) {
    let mut held = Vec::new();
    for end in ["closed", "gone"] {
        let client = f.module().await;
        for (name, expiry) in [("endless", None), ("long", Some(20 * LONG))] {
            let key = f.key(&format!("{end}/{name}"));
            let acquire = client.acquire(&key).owner("o");
            let acquire = match expiry {
                None => acquire,
                Some(expiry) => acquire.expire(expiry),
            };
            held.push((key, acquire.await.expect("free")));
        }
        if end == "closed" {
            assert_eq!(client.close(LONG).await.expect("closed"), 0);
        }
    }
    a_long_while(&f).await;
    for (key, lease) in held {
        assert_answer!(f.b.acquire(&key).await, Err(Error::Held { .. }), "{key}");
        let again = f.b.acquire(&key).owner("o").await.expect("its owner re-enters it anywhere");
        assert_eq!(again.token(), lease.token(), "the same hold");
        assert!(f.a.release_lease(&lease).await.expect("answered"), "given back anywhere");
    }
}

/// Longer than a lease would live by being prolonged in secret, at full scale also once a minute.
pub(super) async fn a_long_while(f: &Fixture) {
    tokio::time::sleep(ms(f.scaled(65_000) as u64).max(ms(2_500))).await;
}

pub(crate) async fn an_expired_hold_is_nobodys(f: Fixture) {
    let (key, other) = (f.key("1"), f.key("2"));
    let lease = f.a.acquire([&key, &other]).owner("o").expire(ms(80)).await.expect("free");
    let_expire(ms(80)).await;
    let next = f.b.acquire(&key).owner("next").await.expect("free");
    assert_answer!(f.a.acquire(&key).owner("o").await, Err(Error::Held { .. }), "not re-entered");
    assert!(!f.a.release(&other).owner("o").await.expect("answered"), "not released");
    assert_answer!(f.a.extend(&lease, LONG).await, Err(Error::Lost { .. }), "not extended");
    assert!(f.b.release_lease(&next).await.expect("answered"), "the next holder kept it");
}
