//! A server that hangs: nothing is answered, and all connections stay open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use locking_core::{Error, Lease, LockingModule, LossReason, Result};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::trial::{AGAIN, assert_uncertain};
use crate::fixture::Fixture;
use crate::own_server::Stop;
use crate::support::{
    LONG, a_moment, always, assert_answer, is_free, ms, soon, until_free, until_within, within,
};

/// For how long it hangs: at full scale, longer than clients wait for an answer, too.
fn times(f: &Fixture) -> impl Iterator<Item = Duration> + use<> {
    [ms(1_000), ms(3_500), ms(7_000)].into_iter().take(f.scaled(100))
}

pub(crate) async fn a_guard_knows_of_its_loss_and_all_goes_on(f: Fixture) {
    let lease = ms(600);
    for (round, time) in times(&f).enumerate() {
        let key = f.key(&round.to_string());
        let guard = f.a.lock(&key).lease(lease).await.expect("free");
        let (module, wanted, context) = (f.b.clone(), key.clone(), guard.context());
        let waiting = tokio::spawn(async move {
            let next = module.lock(wanted).lease(LONG).timeout(LONG).await;
            (next, context.check())
        });
        a_moment().await;
        f.server().pause().await;
        let hangs_until = Instant::now() + time;
        // By its own clock: nobody tells.
        let reason = within(lease, "the guard's loss", guard.lost()).await;
        assert_eq!(reason, LossReason::Expired);
        sleep_until(hangs_until).await;
        assert!(!waiting.is_finished(), "nobody answers");
        f.server().resume().await;
        let (next, checked) = within(AGAIN, "the waiter", waiting).await.expect("no panic");
        always!(checked.is_err(), "two believe in `{key}`");
        assert_answer!(checked, Err(Error::Lost { .. }), "lost before it is another's");
        let next = next.expect("granted");
        always!(next.token() > guard.token(), "{} after {}", next.token(), guard.token());
        until_usable(&f.a, &f.key("again")).await;
        next.check().expect("valid");
        assert_answer!(guard.release().await, Err(Error::Lost { .. }), "lost for good");
        next.release().await.expect("held to the end");
    }
}

pub(crate) async fn an_acquire_ends_at_its_deadline_and_leaves_nothing(f: Fixture) {
    let held = f.b.acquire(f.key("held")).await.expect("free");
    // They wait before it hangs, and come while it does.
    let (mut waiting, mut asking) = (JoinSet::new(), JoinSet::new());
    for n in 0..3 {
        waiting.spawn(at_its_deadline(wait(&f, n, f.key("held")), ms(700)));
    }
    a_moment().await;
    f.server().pause().await;
    for (n, time) in [ms(20), ms(150), ms(400)].into_iter().enumerate() {
        for kind in 0..3 {
            let free = wait(&f, kind, f.key(&format!("free{n}{kind}")));
            asking.spawn(at_its_deadline(free, time));
            waiting.spawn(at_its_deadline(wait(&f, kind, f.key("held")), time));
        }
    }
    while let Some(ended) = asking.join_next().await {
        assert_uncertain(&ended.expect("in time").expect_err("nobody answers"));
    }
    while let Some(ended) = waiting.join_next().await {
        match ended.expect("in time").expect_err("it is held") {
            // It waited in its own process, behind others.
            Error::TimedOut { .. } => {}
            error => assert_uncertain(&error),
        }
    }
    f.server().resume().await;
    let resumed = Instant::now();
    assert!(f.b.release_lease(&held).await.expect("answered"));
    let mut keys = vec![f.key("held"), f.key("and0"), f.key("and1"), f.key("and2")];
    keys.extend((0..9).map(|n| f.key(&format!("free{}{}", n / 3, n % 3))));
    for key in &keys {
        until_within(ms(1000).saturating_sub(resumed.elapsed()).max(ms(1)), key, || {
            is_free(&f.b, key)
        })
        .await;
    }
    // No ghost comes after it.
    a_moment().await;
    for key in &keys {
        assert!(is_free(&f.b, key).await, "{key} stays free");
    }
}

type Wait = (LockingModule, usize, [String; 2]);

fn wait(f: &Fixture, kind: usize, key: String) -> Wait {
    (f.a.clone(), kind, [key, f.key(&format!("and{kind}"))])
}

async fn at_its_deadline((module, kind, keys): Wait, time: Duration) -> Result<()> {
    let call = async {
        match kind {
            0 => module.acquire(&keys[0]).wait(time).await.map(drop),
            1 => module.lock(&keys[0]).timeout(time).await.map(drop),
            _ => module.acquire(&keys).wait(time).await.map(drop),
        }
    };
    keeps_its_deadline(time, call, &format!("{keys:?}")).await
}

/// What is answered at a deadline that is so far away, and is kept.
pub(super) async fn keeps_its_deadline(
    time: Duration,
    call: impl Future<Output = Result<()>>,
    what: &str,
) -> Result<()> {
    let deadline = Instant::now() + time;
    // What this machine can do: from then on, the time by which tokio's own timers are late.
    let answered = Arc::new(AtomicBool::new(false));
    let is_answered = Arc::clone(&answered);
    let control = tokio::spawn(async move {
        sleep_until(deadline).await;
        let mut lost = deadline.elapsed();
        while !is_answered.load(Ordering::SeqCst) {
            let asleep = Instant::now();
            sleep(ms(2)).await;
            lost += asleep.elapsed().saturating_sub(ms(4));
        }
        lost
    });
    let answer = call.await;
    let late = deadline.elapsed();
    answered.store(true, Ordering::SeqCst);
    let allowed = ms(50) + control.await.expect("no panic");
    assert!(late <= allowed, "{what}: {late:?} late, {allowed:?} allowed: {answer:?}");
    answer
}

pub(crate) async fn calls_end_and_tell_the_truth(f: Fixture) {
    let (key, leased, extended) = (f.key("k"), f.key("leased"), f.key("extended"));
    let lease = f.a.acquire(&leased).expire(LONG).await.expect("free");
    let other = f.a.acquire(&extended).expire(LONG).await.expect("free");
    f.server().pause().await;
    let began = Instant::now();
    let (acquired, released, extension, inspected) = tokio::join!(
        within(BOUND, "an acquire", f.a.acquire(&key)),
        within(BOUND, "a release", f.a.release_lease(&lease)),
        within(BOUND, "an extension", f.a.extend(&other, LONG * 2)),
        within(BOUND, "a look", f.a.inspect(&key)),
    );
    f.server().resume().await;
    assert_uncertain(&acquired.expect_err("nobody answers"));
    assert_uncertain(&released.expect_err("nobody answers"));
    assert_uncertain(&extension.expect_err("nobody answers"));
    assert!(inspected.is_err(), "nobody answered for {:?}", began.elapsed());
    for module in [&f.a, &f.b] {
        until_usable(module, &f.key("again")).await;
    }
    until_free(&f.b, &key).await;
    assert!(!is_free(&f.b, &extended).await, "extended or not, it is held");
    assert!(f.b.release_lease(&other).await.expect("answered"));
    // Carried out or not: a second call settles it.
    f.b.release_lease(&lease).await.expect("answered");
    assert!(is_free(&f.b, &leased).await);
}

/// Within this time, any call is answered.
const BOUND: Duration = Duration::from_secs(10);

pub(crate) async fn close_ends_while_the_server_hangs(f: Fixture) {
    let (module, blocked) = in_use(&f).await;
    f.server().pause().await;
    closes(&module).await;
    f.server().resume().await;
    until_within(AGAIN, "its keys are free", || async {
        is_free(&f.b, &f.key("guard")).await && is_free(&f.b, &f.key("wanted")).await
    })
    .await;
    nobody_waits(&f, &blocked).await;
}

pub(crate) async fn close_ends_while_the_server_is_gone(f: Fixture) {
    let (module, blocked) = in_use(&f).await;
    f.server().stop(Stop::Crash).await;
    closes(&module).await;
    f.server().start_again().await;
    until_usable(&f.b, &f.key("again")).await;
    nobody_waits(&f, &blocked).await;
}

/// A client with a guard, a job, waiters and calls that are under way, and what some of its waiters wait for.
async fn in_use(f: &Fixture) -> (LockingModule, Lease) {
    let module = f.module().await;
    f.b.acquire(f.key("wanted")).expire(ms(1500)).await.expect("free");
    let blocked = f.b.acquire(f.key("blocked")).await.expect("free");
    for keys in [vec![f.key("blocked")], vec![f.key("blocked"), f.key("also")]] {
        // Without an expiry, what they were granted would be held for ever.
        let module = module.clone();
        tokio::spawn(async move { module.acquire(keys).wait(LONG).await });
    }
    for name in ["guard", "wanted"] {
        let (module, key) = (module.clone(), f.key(name));
        tokio::spawn(async move {
            let guard = module.lock(key).lease(ms(1500)).timeout(LONG).await;
            sleep(LONG).await;
            drop(guard);
        });
    }
    let (busy, key) = (module.clone(), f.key("several"));
    tokio::spawn(async move {
        loop {
            let _ = busy.acquire([&key, &format!("{key}2")]).expire(ms(300)).wait(ms(50)).await;
            a_moment().await;
        }
    });
    a_moment().await;
    (module, blocked)
}

/// Of the waiters of a client that was closed, none is granted what it waited for.
async fn nobody_waits(f: &Fixture, blocked: &Lease) {
    // Held still, or forgotten with what the server forgot.
    f.b.release_lease(blocked).await.expect("answered");
    let keys = [f.key("blocked"), f.key("also")];
    for key in &keys {
        until_free(&f.b, key).await;
    }
    // No ghost comes after it.
    a_moment().await;
    for key in &keys {
        assert!(is_free(&f.b, key).await, "{key} stays free");
    }
}

async fn closes(module: &LockingModule) {
    let limit = ms(100) + AGAIN;
    // What couldn't be given back in good order may be told.
    let _ = within(limit, "the close", module.close(ms(100))).await;
    let refused = soon("a later call", module.acquire("k")).await;
    assert_answer!(refused, Err(Error::Closed { .. }), "closed all the same");
}

/// By itself, the client works again.
pub(super) async fn until_usable(module: &LockingModule, key: &str) {
    until_within(AGAIN, "the client works again", || async {
        match module.acquire(key).await {
            Ok(lease) => matches!(module.release_lease(&lease).await, Ok(true)),
            Err(_) => false,
        }
    })
    .await;
}
