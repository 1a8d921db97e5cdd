//! Who holds what.

use std::time::Duration;

use locking_core::{Expiry, HoldKind, OwnerId};

use crate::fixture::Fixture;
use crate::support::{LONG, guard_that_waited, let_expire, ms, until};

pub(crate) async fn a_hold_is_told_with_owner_token_kind_and_time(f: Fixture) {
    let (owned, guarded) = (f.key("1"), f.key("2"));
    let lease = f.a.acquire(&owned).owner("o").expire(LONG).await.expect("free");
    let info = f.b.inspect(&owned).await.expect("answered").expect("held");
    assert_eq!((info.key.as_str(), info.token), (owned.as_str(), lease.token()));
    assert_eq!(info.owner.as_ref().map(OwnerId::as_str), Some("o"));
    assert_eq!(info.kind, HoldKind::Lease);
    let left = info.expires_in.expect("it expires");
    assert!(left <= LONG, "no more than was asked, {LONG:?}: {left:?}");
    assert!(left > LONG.mul_f64(0.95), "at most 5 % less than was asked, {LONG:?}: {left:?}");

    let guard = f.a.lock(&guarded).await.expect("free");
    let info = f.b.inspect(&guarded).await.expect("answered").expect("held");
    assert_eq!((info.kind, info.token), (HoldKind::Guard, guard.token()));
    assert_eq!(info.owner, guard.lease().owner);
    guard.release().await.expect("held to the end");
}

pub(crate) async fn the_time_of_the_longest_leases_is_told(f: Fixture) {
    let month = Duration::from_secs(31 * 86_400);
    for (name, time) in [("month", month), ("century", Expiry::MAX)] {
        let key = f.key(name);
        f.a.acquire(&key).expire(time).await.expect("free");
        let info = f.b.inspect(&key).await.expect("answered").expect("held");
        let left = info.expires_in.expect("it expires");
        assert!(left <= time, "no more than was asked, {time:?}: {left:?}");
        assert!(left > time.mul_f64(0.95), "at most 5 % less than was asked, {time:?}: {left:?}");
    }
}

pub(crate) async fn an_anonymous_hold_has_no_owner_and_no_end(f: Fixture) {
    let key = f.key("k");
    f.a.acquire(&key).await.expect("free");
    let info = f.b.inspect(&key).await.expect("answered").expect("held");
    assert_eq!((info.owner, info.expires_in), (None, None));
}

pub(crate) async fn a_key_that_nobody_holds_is_not_told(f: Fixture) {
    let (never, expired, released) = (f.key("1"), f.key("2"), f.key("3"));
    f.a.acquire(&expired).expire(ms(60)).await.expect("free");
    f.a.acquire(&released).await.expect("free");
    assert!(f.a.release(&released).await.expect("answered"));
    let_expire(ms(60)).await;
    for key in [&never, &expired, &released] {
        assert_eq!(f.b.inspect(key).await.expect("answered"), None, "{key}");
    }
    assert_eq!(f.b.list().await.expect("answered"), []);
}

pub(crate) async fn an_expired_hold_that_nobody_asked_for_is_not_listed(f: Fixture) {
    // Who looked at a key meanwhile could have cleared it away.
    let (expired, held) = (f.key("1"), f.key("2"));
    f.a.acquire(&held).await.expect("free");
    f.a.acquire(&expired).owner("o").expire(ms(60)).await.expect("free");
    let_expire(ms(60)).await;
    let list = f.b.list().await.expect("answered");
    let listed: Vec<&str> = list.iter().map(|info| info.key.as_str()).collect();
    assert_eq!(listed, [&held]);
}

pub(crate) async fn a_guard_that_waited_is_told_as_a_guard(f: Fixture) {
    let key = f.key("k");
    let guard = guard_that_waited(&f.a, &f.b, &key).await;
    let info = f.a.inspect(&key).await.expect("answered").expect("held");
    assert_eq!((info.kind, info.token), (HoldKind::Guard, guard.token()));
    assert_eq!(info.owner, guard.lease().owner);
    guard.release().await.expect("held to the end");
}

pub(crate) async fn the_list_has_every_hold_in_byte_order(f: Fixture) {
    let keys = [f.key("c"), f.key("a"), f.key("b")];
    f.a.acquire(&keys[0]).owner("o").await.expect("free");
    f.b.acquire(&keys[1]).await.expect("free");
    let guard = f.a.lock(&keys[2]).await.expect("free");
    let list = f.b.list().await.expect("answered");
    let listed: Vec<&str> = list.iter().map(|info| info.key.as_str()).collect();
    assert_eq!(listed, [&keys[1], &keys[2], &keys[0]]);
    for info in &list {
        assert_eq!(
            f.a.inspect(info.key.as_str()).await.expect("answered").as_ref().map(|i| i.token),
            Some(info.token)
        );
    }
    guard.release().await.expect("held to the end");
}

pub(crate) async fn a_long_list_is_complete_and_in_byte_order(f: Fixture) {
    // Orders of letters and of numbers differ from that of bytes.
    let starts = ["1", "10", "2", "B", "Z", "_", "a", "\u{e4}"];
    let mut keys: Vec<String> = (0..38)
        .flat_map(|n| starts.map(|start| f.key(&format!("{start}{n}"))))
        .chain(starts.map(|start| f.key(start)))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    for some in keys.chunks(7).rev() {
        f.a.acquire(some).owner("o").expire(LONG).await.expect("free");
    }
    let list = f.b.list().await.expect("answered");
    let listed: Vec<&str> = list.iter().map(|info| info.key.as_str()).collect();
    assert_eq!(listed, keys);
}

pub(crate) async fn those_who_wait_are_counted(f: Fixture) {
    let key = f.key("k");
    f.a.acquire(&key).await.expect("free");
    let info = f.b.inspect(&key).await.expect("answered").expect("held");
    assert_eq!(info.waiters, Some(0));
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let (module, key) = (f.b.clone(), key.clone());
            tokio::spawn(async move { module.acquire(key).wait(LONG).await })
        })
        .collect();
    let waiters = || async { f.a.inspect(&key).await.expect("answered").expect("held").waiters };
    until("three wait", || async { waiters().await == Some(3) }).await;
    for waiter in waiting {
        waiter.abort();
    }
    until("nobody waits", || async { waiters().await == Some(0) }).await;
}
