//! Guards: kept alive while they are in use, given back when they are not.

use std::future::IntoFuture;
use std::sync::mpsc;
use std::time::Duration;

use locking_core::{Error, LockingModule};

use crate::fixture::Fixture;
use crate::intercept::Intercept;
use crate::support::{
    LONG, SHORT, a_moment, always, assert_answer, guard_that_waited, is_free, ms, poll_once, soon,
    until, until_free, within,
};

pub(crate) async fn a_guard_outlives_its_lease_while_it_is_in_use(f: Fixture) {
    let key = f.key("k");
    let guard = f.a.lock(&key).lease(SHORT).await.expect("free");
    let began = tokio::time::Instant::now();
    while began.elapsed() < SHORT * 4 {
        assert_answer!(f.b.acquire(&key).await, Err(Error::Held { .. }), "{:?}", began.elapsed());
        guard.check().expect("renewed");
        assert!(guard.expires_in() <= SHORT, "never believed in for longer than its lease");
        tokio::time::sleep(ms(20)).await;
    }
    guard.release().await.expect("held to the end");
    assert!(is_free(&f.b, &key).await);
}

pub(crate) async fn a_dropped_guard_gives_its_keys_back(f: Fixture) {
    let keys = [f.key("1"), f.key("2")];
    drop(f.a.lock(&keys).await.expect("free"));
    for key in &keys {
        until_free(&f.b, key).await;
    }
}

pub(crate) async fn a_guard_is_dropped_outside_any_runtime(f: Fixture) {
    let key = f.key("k");
    let guard = f.a.lock(&key).await.expect("free");
    std::thread::spawn(move || drop(guard)).join().expect("no panic");
    until_free(&f.b, &key).await;
}

pub(crate) async fn a_guard_whose_runtime_is_gone_is_free_by_its_lease(f: Fixture) {
    let key = f.key("k");
    let (client, wanted, (send, receive)) = (f.client().await, key.clone(), mpsc::channel());
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let guard = runtime.expect("a runtime").block_on(async {
            let module = LockingModule::with_provider(client);
            module.lock(wanted).lease(SHORT).await.expect("free")
        });
        send.send(guard).expect("the case listens");
    });
    let guard = tokio::task::block_in_place(|| receive.recv()).expect("a guard");
    tokio::task::block_in_place(|| thread.join()).expect("no panic");
    within(SHORT + ms(1000), "the key", f.b.acquire(&key).wait(LONG)).await.expect("free");
    assert_answer!(guard.check(), Err(Error::Lost { .. }), "it knows");
    drop(guard);
    assert_answer!(f.a.acquire(&key).await, Err(Error::Held { .. }), "the next holder holds on");
}

pub(crate) async fn one_failed_renewal_is_not_a_loss(f: Fixture) {
    let (key, client) = (f.key("k"), Intercept::new(f.client().await));
    let module = LockingModule::with_provider(client.clone());
    let guard = module.lock(&key).lease(ms(600)).await.expect("free");
    client.fail_extends(1);
    until("a renewal was tried again", || async { client.extends() >= 2 }).await;
    tokio::time::sleep(ms(600)).await;
    guard.check().expect("still held");
    assert_answer!(f.b.acquire(&key).await, Err(Error::Held { .. }), "held in the store too");
    guard.release().await.expect("held to the end");
}

pub(crate) async fn nothing_is_renewed_after_the_end(f: Fixture) {
    let client = Intercept::new(f.client().await);
    let module = LockingModule::with_provider(client.clone());
    let released = module.lock(f.key("1")).lease(SHORT).await.expect("free");
    let dropped = module.lock(f.key("2")).lease(SHORT).await.expect("free");
    let lost = module.lock(f.key("3")).lease(SHORT).await.expect("free");
    until("they are renewed", || async { client.extends() >= 3 }).await;
    released.release().await.expect("held to the end");
    drop(dropped);
    f.b.release_all().including_running().await.expect("answered");
    soon("the loss", lost.lost()).await;
    // A renewal that was under way may still be counted.
    tokio::time::sleep(ms(20)).await;
    let before = client.extends();
    tokio::time::sleep(SHORT * 3).await;
    assert_eq!(client.extends(), before, "renewals after the end");
    for name in ["1", "2", "3"] {
        assert!(is_free(&f.b, &f.key(name)).await, "key {name}");
    }
}

pub(crate) async fn a_guard_learns_of_its_loss_before_the_key_is_anothers(f: Fixture) {
    let (key, client) = (f.key("k"), Intercept::new(f.client().await));
    let module = LockingModule::with_provider(client.clone());
    let guard = module.lock(&key).lease(SHORT).await.expect("free");
    client.fail_extends(usize::MAX);
    let (other, wanted) = (f.b.clone(), key.clone());
    let next = tokio::spawn(async move { other.lock(wanted).timeout(LONG).await });
    let lost = guard.lost();
    let next = within(SHORT + ms(1000), "the next holder", next).await.expect("no panic");
    let next = next.expect("free after the expiry");
    let checked = guard.check();
    always!(checked.is_err(), "two believe in `{key}`");
    assert_answer!(checked, Err(Error::Lost { .. }), "lost before the next holder began");
    soon("the signal", lost).await;
    next.check().expect("the next holder holds it");
    always!(guard.token() < next.token(), "it reports its own token, not the next holder's");
    drop(guard);
    tokio::time::sleep(ms(30)).await;
    assert_answer!(f.a.acquire(&key).await, Err(Error::Held { .. }), "its end frees nobody else's");
}

pub(crate) async fn a_paused_process_finds_its_guard_lost_without_asking(f: Fixture) {
    let (key, client) = (f.key("k"), f.client().await);
    let (wanted, (send, receive)) = (key.clone(), mpsc::channel());
    // A process of its own, as far as this one can make one: all that it has is this thread.
    let paused = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let module = LockingModule::with_provider(client);
            let guard = module.lock(wanted).lease(SHORT).await.expect("free");
            send.send(()).expect("the case listens");
            std::thread::sleep(SHORT * 6);
            let first_look = guard.check();
            drop(guard);
            first_look
        })
    });
    tokio::task::block_in_place(|| receive.recv()).expect("the guard is there");
    let next = f.b.lock(&key).timeout(SHORT + ms(1000)).await.expect("free after the expiry");
    let first_look = tokio::task::block_in_place(|| paused.join()).expect("no panic");
    assert_answer!(first_look, Err(Error::Lost { .. }), "known at the first look");
    next.check().expect("the next holder holds it");
    assert!(!is_free(&f.a, &key).await, "and was not freed by the paused one");
    next.release().await.expect("held to the end");
}

pub(crate) async fn a_guard_that_ended_twice_frees_nobody_else(f: Fixture) {
    let key = f.key("k");
    let guard = f.a.lock(&key).await.expect("free");
    let lease = guard.lease().clone();
    guard.release().await.expect("held to the end");
    let next = f.b.lock(&key).await.expect("free");
    assert!(!f.a.release_lease(&lease).await.expect("answered"), "released already");
    next.check().expect("still held");
    assert!(!is_free(&f.a, &key).await);
}

pub(crate) async fn a_guard_that_another_client_ends_late_ends_nobody_else(f: Fixture) {
    let key = f.key("k");
    let guard = f.a.lock(&key).await.expect("free");
    let lease = guard.lease().clone();
    let mut next = Box::pin(f.a.lock(&key).into_future());
    assert!(poll_once(next.as_mut()).await.is_pending(), "it is held");
    a_moment().await;
    // To one of its own client: where that passes the key on by itself, the store hears of it later.
    drop(guard);
    let next = soon("its turn", next).await.expect("given back");
    let is_given_back = f.b.release_lease(&lease).await.expect("answered");
    always!(!is_given_back, "`{key}` is another's by now");
    assert_answer!(f.b.extend(&lease, ms(1)).await, Err(Error::Lost { .. }), "it has ended");
    a_moment().await;
    next.check().expect("still held");
    always!(!is_free(&f.b, &key).await, "`{key}` is held");
}

pub(crate) async fn a_guard_that_waited_is_freed_by_nobody_elses_release(f: Fixture) {
    let key = f.key("k");
    let guard = guard_that_waited(&f.a, &f.b, &key).await;
    let owner = guard.lease().owner.clone().expect("a guard has an owner");
    let freed = f.a.release_all().await.expect("answered");
    assert_eq!(freed, 0, "`release_all` freed a guard unasked");
    assert!(!f.a.release(&key).await.expect("answered"), "`release` without an owner");
    let released = f.a.release(&key).owner(&owner).await.expect("answered");
    assert!(!released, "`release` by its owner's name");
    assert_answer!(f.a.acquire(&key).owner(&owner).await, Err(Error::Held { .. }), "not entered");
    guard.check().expect("held");
    guard.release().await.expect("held to the end");
}

pub(crate) async fn a_guard_of_several_keys_has_a_token_for_each(f: Fixture) {
    let keys = [f.key("1"), f.key("2")];
    let guard = f.a.lock(&keys).lease(SHORT).await.expect("free");
    for key in &keys {
        assert!(guard.token_of(key).is_some(), "{key}");
    }
    assert_eq!(guard.token_of(&f.key("3")), None);
    tokio::time::sleep(SHORT * 2).await;
    guard.check().expect("all of them are renewed");
    for key in &keys {
        assert!(!is_free(&f.b, key).await, "{key} is held");
    }
    guard.release().await.expect("held to the end");
}

pub(crate) async fn many_guards_dropped_together_are_all_given_back(f: Fixture) {
    let keys: Vec<String> = (0..f.scaled(5_000).max(50)).map(|n| f.key(&n.to_string())).collect();
    let mut guards = Vec::new();
    for key in &keys {
        guards.push(f.a.lock(key).await.expect("free"));
    }
    drop(guards);
    let limit = Duration::from_secs(1) + ms(keys.len() as u64);
    let all = within(limit, "all of them", f.b.acquire(&keys).wait(LONG)).await;
    assert_eq!(all.expect("free").keys().len(), keys.len());
}
