//! Draining a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use locking_core::{Error, LockKey, LossReason};

use tokio::sync::Notify;

use crate::fixture::Fixture;
use crate::support::{LONG, a_moment, assert_answer, is_free, ms, soon, until_free, within, work};

pub(crate) async fn a_closed_client_grants_nothing_and_leaves_others_as_they_are(f: Fixture) {
    let key = f.key("k");
    let theirs = f.b.lock(f.key("theirs")).await.expect("free");
    assert_eq!(f.a.close(ms(100)).await.expect("closed"), 0);
    let refused = f.a.acquire(&key).await.expect_err("it is closed");
    assert_answer!(refused, Error::Closed { .. }, "acquire");
    assert_answer!(f.a.lock(&key).await, Err(Error::Closed { .. }), "lock");
    let ran = f.a.execute(&key, |_| async {}).await;
    assert_answer!(ran, Err(Error::Closed { .. }), "execute");
    assert_eq!(refused.provider(), Some(f.client().await.id()));
    assert_names(&refused, &key);
    assert_eq!(f.a.close(ms(100)).await.expect("a second time"), 0);
    theirs.check().expect("another client's guard");
    assert!(is_free(&f.b, &key).await, "another client is served");
    theirs.release().await.expect("held to the end");
}

fn assert_names(error: &Error, key: &str) {
    let named: Vec<_> = error.keys().iter().map(LockKey::as_str).collect();
    assert_eq!(named, [key], "{error:?}");
}

pub(crate) async fn waiters_learn_that_their_client_is_closed(f: Fixture) {
    let key = f.key("k");
    let held = f.b.acquire(&key).await.expect("free");
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let (module, key) = (f.a.clone(), key.clone());
            tokio::spawn(async move { module.acquire(key).wait(LONG).await })
        })
        .collect();
    a_moment().await;
    soon("the close", f.a.close(ms(500))).await.expect("closed");
    for waiter in waiting {
        let answer = soon("a waiter", waiter).await.expect("no panic");
        let Err(error) = answer else { panic!("a waiter was granted {answer:?}") };
        assert_answer!(error, Error::Closed { .. }, "a waiter");
        assert_names(&error, &key);
    }
    let refused = f.a.release(&key).await.expect_err("it is closed");
    assert_answer!(refused, Error::Closed { .. }, "a release");
    assert_names(&refused, &key);
    assert!(f.b.release_lease(&held).await.expect("answered"));
    until_free(&f.b, &key).await;
}

pub(crate) async fn a_providers_own_waiters_learn_of_its_close(f: Fixture) {
    use locking_core::{AcquireRequest, IntoKeys, Wait};

    let key = f.key("k");
    let held = f.b.acquire(&key).await.expect("free");
    let client = f.client().await;
    let keys = key.as_str().into_keys().expect("a valid key");
    let wait = Wait::For(LONG).deadline().expect("a valid wait");
    let (asking, request) = (Arc::clone(&client), AcquireRequest::new(keys).with_wait(wait));
    let again = request.clone();
    let waiting = tokio::spawn(async move { asking.acquire(request).await });
    a_moment().await;
    soon("the close", client.close()).await.expect("closed");
    let answer = soon("the waiter", waiting).await.expect("no panic");
    assert_answer!(answer, Err(Error::Closed { .. }), "a waiter of the provider itself");
    assert_answer!(client.acquire(again).await, Err(Error::Closed { .. }), "a later call");
    assert!(f.b.release_lease(&held).await.expect("answered"));
    until_free(&f.b, &key).await;
}

pub(crate) async fn guards_and_jobs_are_waited_for(f: Fixture) {
    let (key, finished) = (f.key("k"), Arc::new(AtomicBool::new(false)));
    let (module, wanted, flag) = (f.a.clone(), key.clone(), Arc::clone(&finished));
    let begun = Arc::new(Notify::new());
    let begin = Arc::clone(&begun);
    let running = tokio::spawn(async move {
        let job = |_| async move {
            work(begin, ms(150)).await;
            flag.store(true, Ordering::SeqCst);
        };
        module.execute(wanted, job).await
    });
    within(LONG, "the job's begin", begun.notified()).await;
    assert_eq!(f.a.close(LONG).await.expect("closed"), 0, "none had to be broken");
    assert!(finished.load(Ordering::SeqCst), "the job had its time");
    running.await.expect("no panic").expect("held to the end");
    until_free(&f.b, &key).await;
}

pub(crate) async fn what_does_not_end_in_time_is_broken_and_counted(f: Fixture) {
    let keys: Vec<String> = (0..10).map(|n| f.key(&n.to_string())).collect();
    let mut guards = Vec::new();
    for key in &keys[..9] {
        guards.push(f.a.lock(key).await.expect("free"));
    }
    let (module, wanted) = (f.a.clone(), keys[9].clone());
    let begun = Arc::new(Notify::new());
    let begin = Arc::clone(&begun);
    let running = tokio::spawn(async move { module.execute(wanted, |_| work(begin, LONG)).await });
    within(LONG, "the job's begin", begun.notified()).await;
    let leased = f.key("lease");
    f.a.acquire(&leased).await.expect("free");
    assert_eq!(f.a.close(ms(60)).await.expect("closed"), 10);
    for guard in &guards {
        assert_answer!(guard.check(), Err(Error::Lost { reason: LossReason::Closed, .. }), "lost");
    }
    let answer = soon("the job", running).await.expect("no panic");
    assert_answer!(answer, Err(Error::Lost { reason: LossReason::Closed, .. }), "cancelled");
    for key in &keys {
        until_free(&f.b, key).await;
    }
    assert!(!is_free(&f.b, &leased).await, "a lease of `acquire` stays");
}
