//! Giving keys back by name, and as a lease.

use locking_core::{Error, Lease};

use crate::fixture::Fixture;
use crate::support::{LONG, assert_answer, is_free, let_expire, ms};

pub(crate) async fn a_released_key_is_free(f: Fixture) {
    let key = f.key("k");
    f.a.acquire(&key).owner("o").await.expect("free");
    assert!(f.a.release(&key).owner("o").await.expect("answered"));
    assert!(is_free(&f.b, &key).await);
}

pub(crate) async fn the_answer_is_true_only_if_every_key_was_held(f: Fixture) {
    let [first, never, last] = ["1", "2", "3"].map(|name| f.key(name));
    assert!(!f.a.release(&never).owner("o").await.expect("no error"), "a missing key");
    f.a.acquire([&first, &last]).owner("o").await.expect("free");
    let answer = f.a.release([&first, &never, &last]).owner("o").await;
    assert!(!answer.expect("no error"), "one is missing");
    for held in [&first, &last] {
        assert!(is_free(&f.b, held).await, "those that were held are free all the same");
        assert!(!f.a.release(held).owner("o").await.expect("no error"), "a second time");
    }
}

pub(crate) async fn another_owners_key_is_not_freed(f: Fixture) {
    let [first, theirs, last] = ["1", "2", "3"].map(|name| f.key(name));
    f.a.acquire([&first, &last]).owner("me").await.expect("free");
    f.b.acquire(&theirs).owner("them").await.expect("free");
    assert!(!f.a.release([&first, &theirs, &last]).owner("me").await.expect("answered"));
    assert!(is_free(&f.a, &first).await && is_free(&f.a, &last).await, "its own are freed");
    assert_answer!(f.a.acquire(&theirs).await, Err(Error::Held { .. }), "theirs is not");
}

pub(crate) async fn without_an_owner_no_owned_key_is_freed(f: Fixture) {
    let key = f.key("k");
    f.a.acquire(&key).owner("o").await.expect("free");
    assert!(!f.a.release(&key).await.expect("answered"));
    assert_answer!(f.b.acquire(&key).await, Err(Error::Held { .. }), "still held");
}

pub(crate) async fn without_an_owner_anybodys_anonymous_lease_is_freed(f: Fixture) {
    let key = f.key("k");
    f.a.acquire(&key).await.expect("free");
    assert!(f.b.release(&key).await.expect("answered"));
    assert!(is_free(&f.a, &key).await);
}

pub(crate) async fn an_owner_does_not_free_an_anonymous_lease(f: Fixture) {
    let key = f.key("k");
    f.a.acquire(&key).await.expect("free");
    assert!(!f.a.release(&key).owner("o").await.expect("answered"));
    assert_answer!(f.b.acquire(&key).await, Err(Error::Held { .. }), "still held");
}

pub(crate) async fn a_guard_is_freed_by_nobody_elses_release(f: Fixture) {
    let key = f.key("k");
    let guard = f.a.lock(&key).await.expect("free");
    let owner = guard.lease().owner.clone().expect("a guard has an owner");
    let released = f.b.release(&key).await.expect("answered");
    assert!(!released, "`release` without an owner freed a guard");
    let released = f.b.release(&key).owner(&owner).await.expect("answered");
    assert!(!released, "`release` by its owner's name freed a guard");
    assert_answer!(f.b.acquire(&key).await, Err(Error::Held { .. }), "still held");
    guard.release().await.expect("held to the end");
    assert!(is_free(&f.b, &key).await);
}

pub(crate) async fn an_expired_lease_is_not_released_any_more(f: Fixture) {
    let key = f.key("k");
    let lease = f.a.acquire(&key).owner("o").expire(ms(60)).await.expect("free");
    let_expire(ms(60)).await;
    assert!(!f.a.release(&key).owner("o").await.expect("answered"), "by name");
    assert!(!f.a.release_lease(&lease).await.expect("answered"), "as a lease");
}

pub(crate) async fn an_expired_lease_that_nobody_asked_for_is_not_given_back(f: Fixture) {
    // Who looked at a key meanwhile could have cleared it away.
    let (by_name, as_a_lease) = (f.key("1"), f.key("2"));
    f.a.acquire(&by_name).expire(ms(60)).await.expect("free");
    let_expire(ms(60)).await;
    assert!(!f.a.release(&by_name).await.expect("answered"), "by name");
    let lease = f.a.acquire(&as_a_lease).owner("o").expire(ms(60)).await.expect("free");
    let_expire(ms(60)).await;
    assert!(!f.a.release_lease(&lease).await.expect("answered"), "as a lease");
    assert!(is_free(&f.b, &by_name).await && is_free(&f.b, &as_a_lease).await);
}

pub(crate) async fn a_late_release_does_not_free_the_next_holder(f: Fixture) {
    let key = f.key("k");
    let late = f.a.acquire(&key).owner("first").expire(ms(60)).await.expect("free");
    let next = f.b.acquire(&key).owner("next").wait(LONG).await.expect("free after the expiry");
    assert!(!f.a.release(&key).owner("first").await.expect("answered"), "by name");
    assert!(!f.a.release_lease(&late).await.expect("answered"), "as a lease");
    let again = f.b.acquire(&key).owner("next").await.expect("its own");
    assert_eq!(again.token(), next.token(), "the next holder holds on");
}

pub(crate) async fn a_late_lease_does_not_free_a_later_hold_of_its_own_owner(f: Fixture) {
    let key = f.key("k");
    let late = f.a.acquire(&key).owner("o").await.expect("free");
    assert!(f.a.release(&key).owner("o").await.expect("answered"));
    let next = f.b.acquire(&key).owner("o").await.expect("free");
    not_given_back(&f, &late, &next).await;
    assert_answer!(f.a.acquire(&key).await, Err(Error::Held { .. }), "still held");
}

pub(crate) async fn a_late_anonymous_lease_does_not_free_the_next_one(f: Fixture) {
    let key = f.key("k");
    let late = f.a.acquire(&key).expire(ms(60)).await.expect("free");
    let next = f.b.acquire(&key).wait(LONG).await.expect("free after the expiry");
    not_given_back(&f, &late, &next).await;
    assert_answer!(f.a.acquire(&key).await, Err(Error::Held { .. }), "still held");
}

async fn not_given_back(f: &Fixture, late: &Lease, next: &Lease) {
    let (old, new) = (late.token(), next.token());
    let given_back = f.a.release_lease(late).await.expect("answered");
    assert!(!given_back, "the lease of token {old} was given back, while {new} holds its key");
}

pub(crate) async fn a_lease_gives_back_only_what_it_took(f: Fixture) {
    let (old, new) = (f.key("1"), f.key("2"));
    f.a.acquire(&old).owner("o").await.expect("free");
    let inner = f.a.acquire([&old, &new]).owner("o").await.expect("free or its own");
    assert!(f.a.release_lease(&inner).await.expect("answered"), "all that it took was held");
    assert!(is_free(&f.b, &new).await, "taken by it: free");
    assert_answer!(f.b.acquire(&old).await, Err(Error::Held { .. }), "re-entered: still held");
}

pub(crate) async fn a_lease_that_lost_one_key_gives_back_the_others(f: Fixture) {
    let all = [f.key("1"), f.key("2"), f.key("3")];
    let lease = f.a.acquire(&all).owner("o").await.expect("free");
    assert!(f.a.release(&all[1]).owner("o").await.expect("answered"));
    let next = f.b.acquire(&all[1]).owner("next").await.expect("free");
    assert!(!f.a.release_lease(&lease).await.expect("answered"), "one was gone");
    assert!(is_free(&f.b, &all[0]).await && is_free(&f.b, &all[2]).await, "the others are free");
    assert!(f.b.release_lease(&next).await.expect("answered"), "the next holder kept its key");
}

pub(crate) async fn a_lease_is_released_once(f: Fixture) {
    let key = f.key("k");
    let lease = f.a.acquire(&key).await.expect("free");
    assert!(f.a.release_lease(&lease).await.expect("answered"));
    assert!(!f.a.release_lease(&lease).await.expect("answered"), "a second time it isn't held");
}

pub(crate) async fn a_lease_that_travelled_as_text_is_released_elsewhere(f: Fixture) {
    let key = f.key("k");
    let lease = f.a.acquire([&key, &f.key("l")]).owner("o").expire(LONG).await.expect("free");
    let text = serde_json::to_string(&lease).expect("plain data");
    let arrived: Lease = serde_json::from_str(&text).expect("plain data");
    assert_eq!(arrived, lease);
    assert!(f.b.release_lease(&arrived).await.expect("answered"), "by another client");
    assert!(is_free(&f.a, &key).await);
}
