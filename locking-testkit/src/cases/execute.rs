//! Jobs that run while holding keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use locking_core::Error;
use tokio::sync::Notify;

use crate::fixture::Fixture;
use crate::support::{
    LONG, SHORT, a_moment, always, assert_answer, is_free, ms, soon, until_free, within, work,
};

pub(crate) async fn a_jobs_output_is_the_answer(f: Fixture) {
    let key = f.key("k");
    let answer = f.a.execute(&key, |_| async { Err::<u8, _>("the job's own error") }).await;
    assert_eq!(answer.expect("the lock was held"), Err("the job's own error"));
    assert!(is_free(&f.b, &key).await, "given back after the job's own error");
    let answer = f.a.execute(&key, |_| async { 7 }).await;
    assert_eq!(answer.expect("the lock was held"), 7);
    assert!(is_free(&f.b, &key).await, "given back after it returned");
}

pub(crate) async fn a_job_holds_its_keys_while_it_runs(f: Fixture) {
    let (key, other) = (f.key("k"), f.b.clone());
    let asked = key.clone();
    let free = f.a.execute(&key, |_| async move { is_free(&other, &asked).await }).await;
    assert!(!free.expect("the job ran"));
}

pub(crate) async fn a_panicking_job_gives_its_keys_back(f: Fixture) {
    let (key, module) = (f.key("k"), f.a.clone());
    let wanted = key.clone();
    let running = tokio::spawn(async move {
        module
            .execute(wanted, |_| async {
                // Without the hook, which would print it.
                std::panic::resume_unwind(Box::new("the job's own panic"))
            })
            .await
    });
    let end = running.await.expect_err("the panic goes on");
    assert!(end.is_panic());
    until_free(&f.b, &key).await;
}

pub(crate) async fn a_cancelled_job_gives_its_keys_back(f: Fixture) {
    let (key, module) = (f.key("k"), f.a.clone());
    let wanted = key.clone();
    let begun = Arc::new(Notify::new());
    let begin = Arc::clone(&begun);
    let running = tokio::spawn(async move { module.execute(wanted, |_| work(begin, LONG)).await });
    within(LONG, "the job's begin", begun.notified()).await;
    running.abort();
    until_free(&f.b, &key).await;
}

pub(crate) async fn a_timed_out_acquisition_never_starts_the_job(f: Fixture) {
    let (key, started) = (f.key("k"), Arc::new(AtomicBool::new(false)));
    let lease = f.b.acquire(&key).await.expect("free");
    let flag = Arc::clone(&started);
    let job = |_| async move { flag.store(true, Ordering::SeqCst) };
    let answer = f.a.execute(&key, job).timeout(ms(60)).await;
    let error = answer.expect_err("it is held");
    assert_eq!(error.to_string(), format!("timed out acquiring lock for key \"{key}\""));
    assert!(f.b.release_lease(&lease).await.expect("answered"));
    until_free(&f.b, &key).await;
    assert!(!started.load(Ordering::SeqCst), "neither then nor later");
}

pub(crate) async fn execute_inside_execute_on_one_key_times_out(f: Fixture) {
    let (key, inner) = (f.key("k"), f.a.clone());
    let wanted = key.clone();
    let answer =
        f.a.execute(
            &key,
            |_| async move { inner.execute(wanted, |_| async {}).timeout(ms(60)).await },
        );
    let answer = answer.await.expect("the outer job ran");
    assert_answer!(answer, Err(Error::TimedOut { .. }), "never re-entrant");
}

pub(crate) async fn a_job_that_waited_is_freed_by_nobody_elses_release(f: Fixture) {
    let key = f.key("k");
    let first = f.a.acquire(&key).await.expect("free");
    let (module, other, wanted) = (f.b.clone(), f.a.clone(), key.clone());
    let running = tokio::spawn(async move {
        let asked = wanted.clone();
        let job = |_| async move { (other.release_all().await, other.release(asked).await) };
        module.execute(wanted, job).timeout(LONG).await
    });
    a_moment().await;
    assert!(!running.is_finished(), "it waits");
    assert!(f.a.release_lease(&first).await.expect("answered"));
    let answer = within(LONG, "the job's end", running).await.expect("no panic");
    let (freed, released) = answer.expect("held to the end");
    assert_eq!(freed.expect("answered"), 0, "`release_all` freed a job unasked");
    assert!(!released.expect("answered"), "`release` freed a job");
}

pub(crate) async fn a_long_job_keeps_its_lock(f: Fixture) {
    let (key, other) = (f.key("k"), f.b.clone());
    let asked = key.clone();
    let job = |lock: locking_core::LockContext| async move {
        let began = tokio::time::Instant::now();
        while began.elapsed() < SHORT * 3 {
            assert!(!is_free(&other, &asked).await, "free after {:?}", began.elapsed());
            lock.check().expect("renewed");
            tokio::time::sleep(ms(20)).await;
        }
    };
    f.a.execute(&key, job).lease(SHORT).await.expect("held to the end");
}

pub(crate) async fn a_lost_job_is_cancelled_and_the_loss_is_the_answer(f: Fixture) {
    let (key, finished) = (f.key("k"), Arc::new(AtomicBool::new(false)));
    let (flag, breaker) = (Arc::clone(&finished), f.b.clone());
    let job = |_| async move {
        breaker.release_all().including_running().await.expect("answered");
        tokio::time::sleep(LONG).await;
        flag.store(true, Ordering::SeqCst);
    };
    let answer = soon("the answer", f.a.execute(&key, job).lease(ms(900))).await;
    assert_answer!(answer, Err(Error::Lost { key: lost, .. }) if lost.as_str() == key, "lost");
    assert!(!finished.load(Ordering::SeqCst), "cancelled at its next await");
}

pub(crate) async fn a_job_that_ends_as_its_lock_is_lost_is_lost(f: Fixture) {
    let (key, breaker) = (f.key("k"), f.b.clone());
    let job = |_| async move {
        breaker.release_all().including_running().await.expect("answered");
        "done in the same instant"
    };
    let answer = f.a.execute(&key, job).await;
    assert_answer!(answer, Err(Error::Lost { .. }), "its result could rest on another's work");
}

pub(crate) async fn a_job_that_is_not_cancelled_learns_of_the_loss(f: Fixture) {
    let (key, breaker) = (f.key("k"), f.b.clone());
    let (learned, flag) = {
        let learned = Arc::new(AtomicBool::new(false));
        (Arc::clone(&learned), learned)
    };
    let job = |lock: locking_core::LockContext| async move {
        breaker.release_all().including_running().await.expect("answered");
        lock.lost().await;
        assert_answer!(lock.check(), Err(Error::Lost { .. }), "the context knows");
        flag.store(true, Ordering::SeqCst);
    };
    let running = f.a.execute(&key, job).lease(ms(900)).cancel_when_lost(false);
    assert_answer!(soon("the answer", running).await, Err(Error::Lost { .. }), "lost all the same");
    assert!(learned.load(Ordering::SeqCst), "it ran to its end");
}

pub(crate) async fn a_job_knows_the_tokens_of_its_keys(f: Fixture) {
    let keys = [f.key("1"), f.key("2")];
    let asked = keys.clone();
    let tokens = f.a.execute(&keys, |lock| async move { asked.map(|key| lock.token_of(&key)) });
    let tokens = tokens.await.expect("the job ran");
    assert!(tokens.iter().all(Option::is_some), "{tokens:?}");
    let next = f.b.lock(&keys).await.expect("free");
    for (key, token) in keys.iter().zip(tokens) {
        always!(next.token_of(key) > token, "{:?} after {token:?}", next.token_of(key));
    }
}
