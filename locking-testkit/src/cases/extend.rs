//! Setting the remaining time of a lease.

use locking_core::Error;
use tokio::time::Instant;

use crate::fixture::Fixture;
use crate::support::{
    LONG, SHORT, a_moment, assert_answer, is_free, let_expire, ms, soon, until_free,
};

pub(crate) async fn a_lease_is_extended_from_now(f: Fixture) {
    let key = f.key("k");
    let lease = f.a.acquire(&key).expire(SHORT).await.expect("free");
    f.a.extend(&lease, LONG).await.expect("held");
    tokio::time::sleep(SHORT + ms(50)).await;
    assert_answer!(f.b.acquire(&key).await, Err(Error::Held { .. }), "extended");
    assert!(f.a.release_lease(&lease).await.expect("answered"), "the same hold");
}

pub(crate) async fn a_lease_is_shortened_too(f: Fixture) {
    let key = f.key("k");
    let lease = f.a.acquire(&key).expire(LONG).await.expect("free");
    f.a.extend(&lease, ms(60)).await.expect("held");
    until_free(&f.b, &key).await;
}

pub(crate) async fn a_lease_without_an_expiry_gets_one(f: Fixture) {
    let key = f.key("k");
    let lease = f.a.acquire(&key).owner("o").await.expect("free");
    f.a.extend(&lease, ms(60)).await.expect("held");
    until_free(&f.b, &key).await;
}

pub(crate) async fn a_lease_that_ended_is_lost(f: Fixture) {
    let key = f.key("k");
    let expired = f.a.acquire(&key).expire(ms(60)).await.expect("free");
    until_free(&f.b, &key).await;
    let answer = f.a.extend(&expired, LONG).await;
    assert_answer!(answer, Err(Error::Lost { key: lost, .. }) if lost.as_str() == key, "expired");
    until_free(&f.b, &key).await;

    let released = f.a.acquire(&key).await.expect("free");
    assert!(f.a.release_lease(&released).await.expect("answered"));
    assert_answer!(f.a.extend(&released, LONG).await, Err(Error::Lost { .. }), "released");
}

pub(crate) async fn an_expired_lease_that_nobody_asked_for_is_not_revived(f: Fixture) {
    // Who looked at a key meanwhile could have cleared it away.
    for owner in [None, Some("o")] {
        let key = f.key(owner.unwrap_or("anonymous"));
        let acquire = f.a.acquire(&key).expire(ms(60));
        let acquire = if let Some(owner) = owner { acquire.owner(owner) } else { acquire };
        let expired = acquire.await.expect("free");
        let_expire(ms(60)).await;
        assert_answer!(f.a.extend(&expired, LONG).await, Err(Error::Lost { .. }), "{key}");
        assert!(is_free(&f.b, &key).await, "{key} stays free");
    }
}

pub(crate) async fn a_reentered_key_is_extended(f: Fixture) {
    let key = f.key("k");
    f.a.acquire(&key).owner("o").expire(SHORT).await.expect("free");
    let again = f.a.acquire(&key).owner("o").await.expect("its own");
    f.a.extend(&again, LONG).await.expect("held");
    let_expire(SHORT).await;
    assert_answer!(f.b.acquire(&key).await, Err(Error::Held { .. }), "extended");
}

pub(crate) async fn taken_and_reentered_keys_are_extended_together(f: Fixture) {
    let (old, new) = (f.key("1"), f.key("2"));
    f.a.acquire(&old).owner("o").expire(SHORT).await.expect("free");
    let both = f.a.acquire([&old, &new]).owner("o").expire(SHORT).await;
    f.a.extend(&both.expect("free or its own"), LONG).await.expect("held");
    let_expire(SHORT).await;
    for key in [&old, &new] {
        assert_answer!(f.b.acquire(key).await, Err(Error::Held { .. }), "{key} is extended");
    }
}

pub(crate) async fn a_reentered_key_that_was_released_is_lost(f: Fixture) {
    let (old, new) = (f.key("1"), f.key("2"));
    f.a.acquire(&old).owner("o").await.expect("free");
    let again = f.a.acquire(&old).owner("o").await.expect("its own");
    let both = f.a.acquire([&old, &new]).owner("o").await.expect("free or its own");
    assert!(f.a.release(&old).owner("o").await.expect("answered"));
    for lease in [again, both] {
        let answer = f.a.extend(&lease, LONG).await;
        assert_answer!(answer, Err(Error::Lost { key, .. }) if key.as_str() == old, "released");
    }
    assert!(is_free(&f.b, &old).await, "it stays free");
}

pub(crate) async fn a_lease_does_not_extend_the_next_holders(f: Fixture) {
    let key = f.key("k");
    let late = f.a.acquire(&key).owner("o").await.expect("free");
    assert!(f.a.release(&key).owner("o").await.expect("answered"));
    f.b.acquire(&key).owner("o").expire(SHORT).await.expect("free");
    assert_answer!(f.a.extend(&late, LONG).await, Err(Error::Lost { .. }), "an older token");
    f.a.acquire(&key).wait(SHORT + ms(1000)).await.expect("the next holder's own expiry counts");
}

pub(crate) async fn of_several_keys_all_are_extended_or_none(f: Fixture) {
    let (kept, lost) = (f.key("1"), f.key("2"));
    let lease = f.a.acquire([&kept, &lost]).owner("o").expire(SHORT).await.expect("free");
    assert!(f.a.release(&lost).owner("o").await.expect("answered"));
    let answer = f.a.extend(&lease, LONG).await;
    assert_answer!(answer, Err(Error::Lost { key, .. }) if key.as_str() == lost, "one is lost");
    f.b.acquire(&kept).wait(SHORT + ms(1000)).await.expect("not extended");
}

pub(crate) async fn a_waiter_gets_a_shortened_key_at_its_new_expiry(f: Fixture) {
    let key = f.key("k");
    let lease = f.a.acquire(&key).expire(LONG).await.expect("free");
    let (module, wanted) = (f.b.clone(), key.clone());
    let waiting = tokio::spawn(async move { module.acquire(wanted).wait(LONG).await });
    a_moment().await;
    f.a.extend(&lease, ms(100)).await.expect("held");
    let waited = tokio::time::timeout(ms(1100), waiting).await;
    waited.expect("at the new expiry").expect("no panic").expect("granted");
}

pub(crate) async fn a_waiter_does_not_get_an_extended_key_at_its_old_expiry(f: Fixture) {
    let key = f.key("k");
    let lease = f.a.acquire(&key).expire(SHORT).await.expect("free");
    let (module, wanted, began) = (f.b.clone(), key.clone(), Instant::now());
    let waiting = tokio::spawn(async move { module.acquire(wanted).wait(LONG).await });
    a_moment().await;
    f.a.extend(&lease, LONG).await.expect("held");
    tokio::time::sleep(SHORT + ms(100)).await;
    assert!(!waiting.is_finished(), "still held after {:?}", began.elapsed());
    assert!(f.a.release_lease(&lease).await.expect("answered"));
    soon("the waiter", waiting).await.expect("no panic").expect("granted");
}
