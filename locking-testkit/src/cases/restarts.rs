//! A server that ends while locks are held, and is started again.

use locking_core::{Capability, LockingModule, Result};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::hangs::keeps_its_deadline;
use super::trial::{AGAIN, assert_uncertain};
use crate::fixture::Fixture;
use crate::own_server::Stop;
use crate::support::{LONG, always, is_free, ms, until_free, until_within, within};

const WAYS: [Stop; 2] = [Stop::Clean, Stop::Crash];

pub(crate) async fn holds_stay_as_they_were(f: Fixture) {
    for how in WAYS {
        let (leased, guarded) = (f.key(&format!("{how:?}/l")), f.key(&format!("{how:?}/g")));
        let lease = f.a.acquire(&leased).owner("o").expire(LONG * 2).await.expect("free");
        let guard = f.a.lock(&guarded).lease(LONG).await.expect("free");
        let (waiting, token) = (wait(&f.b, &leased), guard.token());
        restart(&f, how).await;
        until_usable(&f, &f.a).await;
        until_usable(&f, &f.b).await;
        let again = f.a.acquire(&leased).owner("o").await.expect("its owner's");
        assert_eq!(again.token(), lease.token(), "after {how:?}: the same hold");
        // Where a dead process's guards are taken over, they hang on its session, which the restart ends.
        if !f.capabilities().has(Capability::Takeover) {
            assert!(!is_free(&f.b, &guarded).await, "after {how:?}: it excludes others");
            guard.check().expect("valid");
            assert_eq!(guard.token(), token);
            guard.release().await.expect("held to the end");
        }
        assert!(!waiting.is_finished(), "after {how:?}: it excludes waiters");
        assert!(f.a.release_lease(&lease).await.expect("answered"), "held to the end");
        let next = within(AGAIN, "the waiter", waiting).await.expect("no panic");
        always!(next.expect("granted").token() > lease.token(), "a token of its own");
    }
}

pub(crate) async fn clients_work_again_by_themselves(f: Fixture) {
    for how in WAYS {
        let key = f.key(&format!("{how:?}"));
        let held = f.a.acquire(&key).expire(LONG * 2).await.expect("free");
        let (waiting, gone) = (wait(&f.b, &key), f.key("gone"));
        f.server().stop(how).await;
        tokio::join!(has_no_server(&f.a, &gone), has_no_server(&f.b, &gone));
        f.server().start_again().await;
        until_usable(&f, &f.a).await;
        until_usable(&f, &f.b).await;
        // What was under way to the server when it ended is undone soon.
        until_free(&f.b, &gone).await;
        // Held still, or forgotten and the waiter's already: it has its turn.
        f.a.release_lease(&held).await.expect("answered");
        let next = within(AGAIN, "the waiter", waiting).await.expect("no panic");
        let next = next.expect("granted");
        assert!(f.b.release_lease(&next).await.expect("answered"), "granted is held");
    }
}

/// Without a server there is an answer, too, and it is the truth.
async fn has_no_server(module: &LockingModule, key: &str) {
    let answer = within(AGAIN * 2, "an acquire", module.acquire(key)).await;
    assert_uncertain(&answer.expect_err("there is no server"));
    let wait = ms(200);
    let call = async { module.lock(key).timeout(wait).await.map(drop) };
    let answer = within(AGAIN, "a wait", keeps_its_deadline(wait, call, key)).await;
    assert!(answer.is_err(), "there is no server");
}

pub(crate) async fn a_guard_is_valid_or_learns_of_its_loss(f: Fixture) {
    let lease = ms(1500);
    for how in WAYS {
        let key = f.key(&format!("{how:?}"));
        let guard = f.a.lock(&key).lease(lease).await.expect("free");
        let (module, wanted) = (f.b.clone(), key.clone());
        let waiting =
            tokio::spawn(async move { module.lock(wanted).lease(lease).timeout(LONG).await });
        restart(&f, how).await;
        until_usable(&f, &f.b).await;
        // A server that forgot it gives the key to the waiter, and the guard finds that out.
        let found = Instant::now() + lease;
        while Instant::now() < found && guard.check().is_ok() {
            sleep(ms(5)).await;
        }
        // In this order: who is valid now was it when the waiter was done.
        let (is_done, is_valid) = (waiting.is_finished(), guard.check().is_ok());
        let token = guard.token();
        if is_valid && !is_done {
            guard.release().await.expect("held to the end");
        }
        let next = within(AGAIN, "the waiter", waiting).await.expect("no panic");
        let next = next.expect("granted");
        always!(!(is_valid && is_done), "after {how:?}: two guards");
        next.check().expect("valid");
        always!(next.token() > token, "who overlapped is known by the token");
        next.release().await.expect("held to the end");
    }
}

pub(crate) async fn tokens_grow_over_them(f: Fixture) {
    let key = f.key("k");
    let mut last = f.a.lock(&key).await.expect("free").token();
    for how in [Stop::Crash, Stop::Clean, Stop::Crash] {
        restart(&f, how).await;
        for module in [&f.a, &f.b] {
            until_usable(&f, module).await;
            let lease = module.acquire(&key).wait(LONG).await.expect("free, or soon");
            always!(lease.token() > last, "after {how:?}: {} after {last}", lease.token());
            last = lease.token();
            assert!(module.release_lease(&lease).await.expect("answered"));
        }
    }
}

async fn restart(f: &Fixture, how: Stop) {
    f.server().stop(how).await;
    f.server().start_again().await;
}

/// By itself, the client works again.
async fn until_usable(f: &Fixture, module: &LockingModule) {
    until_within(AGAIN, "the client works again", || async {
        // Another one each time: a crash may bring back a lease that was given back just before, where it
        // ends soon by itself.
        let key = f.key(&format!("again/{}", fastrand::u64(..)));
        match module.acquire(&key).expire(LONG).await {
            Ok(lease) => matches!(module.release_lease(&lease).await, Ok(true)),
            Err(_) => false,
        }
    })
    .await;
}

fn wait(module: &LockingModule, key: &str) -> JoinHandle<Result<locking_core::Lease>> {
    let (module, key) = (module.clone(), key.to_owned());
    tokio::spawn(async move { module.acquire(key).expire(LONG).wait(LONG).await })
}
