//! Waiting for keys that others hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use locking_core::{Error, Wait};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use crate::fixture::Fixture;
use crate::support::{
    LONG, SOON, a_moment, always, assert_answer, is_free, ms, soon, until, until_free, within,
};

pub(crate) async fn a_waiter_gets_a_released_key(f: Fixture) {
    let key = f.key("k");
    let lease = f.a.acquire(&key).await.expect("free");
    let (module, wanted) = (f.b.clone(), key.clone());
    let waiting = tokio::spawn(async move { module.acquire(wanted).wait(LONG).await });
    a_moment().await;
    assert!(!waiting.is_finished(), "it waits");
    assert!(f.a.release_lease(&lease).await.expect("answered"));
    soon("the waiter", waiting).await.expect("no panic").expect("granted");
}

pub(crate) async fn a_waiter_for_several_keys_gets_them_when_the_last_is_released(f: Fixture) {
    let keys = ["1", "2", "3"].map(|name| f.key(name));
    for last in 0..keys.len() {
        let mut held = Vec::new();
        for key in &keys {
            held.push(f.a.acquire(key).await.expect("free"));
        }
        let (module, wanted) = (f.b.clone(), keys.clone());
        let waiting = tokio::spawn(async move { module.acquire(wanted).wait(LONG).await });
        a_moment().await;
        held.rotate_left(last + 1);
        for lease in held {
            assert!(!waiting.is_finished(), "it waits for all of them");
            assert!(f.a.release_lease(&lease).await.expect("answered"));
        }
        let all = soon("the waiter", waiting).await.expect("no panic").expect("granted");
        assert!(f.b.release_lease(&all).await.expect("answered"), "held");
    }
}

pub(crate) async fn a_wait_ends_at_its_deadline(f: Fixture) {
    let key = f.key("k");
    f.a.acquire(&key).await.expect("free");
    for wait in [ms(1), ms(30), ms(250), ms(700)] {
        let deadline = Instant::now() + wait;
        // The same moment, waited for by tokio alone: what this machine can do.
        let control = tokio::spawn(async move {
            sleep_until(deadline).await;
            deadline.elapsed()
        });
        let refused = f.b.acquire(&key).wait(wait).await;
        let (late, ended) = (deadline.elapsed(), Instant::now());
        let error = refused.expect_err("it is held");
        assert_eq!(error.to_string(), format!("timed out acquiring lock for key \"{key}\""));
        assert!(ended + ms(2) >= deadline, "not before its deadline");
        let allowed = ms(50) + control.await.expect("no panic");
        assert!(late <= allowed, "{late:?} late, {allowed:?} allowed");
    }
}

pub(crate) async fn no_wait_and_a_wait_of_zero_try_once(f: Fixture) {
    let key = f.key("k");
    f.a.acquire(&key).await.expect("free");
    let zero = f.b.acquire(&key).wait(Duration::ZERO);
    assert_answer!(soon("zero", zero).await, Err(Error::Held { .. }), "tried once");
    let none = f.b.acquire(&key);
    assert_answer!(soon("none", none).await, Err(Error::Held { .. }), "tried once");
    let guard = f.b.lock(&key).timeout(Duration::ZERO);
    assert_answer!(soon("a guard", guard).await, Err(Error::Held { .. }), "tried once");
}

pub(crate) async fn an_unlimited_wait_lasts_until_the_key_is_free(f: Fixture) {
    let key = f.key("k");
    let lease = f.a.acquire(&key).await.expect("free");
    let (module, wanted) = (f.b.clone(), key.clone());
    let waiting = tokio::spawn(async move { module.acquire(wanted).wait(Wait::Unlimited).await });
    tokio::time::sleep(ms(400)).await;
    assert!(!waiting.is_finished(), "it waits");
    assert!(f.a.release_lease(&lease).await.expect("answered"));
    soon("the waiter", waiting).await.expect("no panic").expect("granted");
}

pub(crate) async fn no_wake_up_is_lost_in_any_window(f: Fixture) {
    let key = f.key("k");
    for round in 0..f.scaled(10_000).max(100) {
        let lease = f.a.acquire(&key).wait(SOON).await.expect("free by now");
        let (module, wanted) = (f.b.clone(), key.clone());
        let waiting = tokio::spawn(async move {
            let lease = module.acquire(wanted).wait(LONG).await?;
            module.release_lease(&lease).await
        });
        // From before the waiter asks to well after.
        match round % 4 {
            0 => {}
            1 => tokio::task::yield_now().await,
            2 => tokio::time::sleep(Duration::from_micros(fastrand::u64(..300))).await,
            _ => tokio::time::sleep(ms(2)).await,
        }
        assert!(f.a.release_lease(&lease).await.expect("answered"), "round {round}");
        let got = soon("the waiter", waiting).await.expect("no panic");
        assert_answer!(got, Ok(true), "round {round}");
    }
}

pub(crate) async fn an_error_means_not_held_when_a_release_races_the_deadline(f: Fixture) {
    let key = f.key("k");
    for round in 0..f.scaled(100_000).max(300) {
        let lease = f.a.acquire(&key).wait(SOON).await.expect("free by now");
        let (module, wanted, wait) = (f.b.clone(), key.clone(), ms(1 + round as u64 % 3));
        let waiting = tokio::spawn(async move { module.acquire(wanted).wait(wait).await });
        let early = Duration::from_micros(fastrand::u64(..600));
        tokio::time::sleep(wait.saturating_sub(early)).await;
        assert!(f.a.release_lease(&lease).await.expect("answered"), "round {round}");
        match waiting.await.expect("no panic") {
            Ok(granted) => {
                assert!(f.b.release_lease(&granted).await.expect("answered"), "granted means held");
            }
            // Of an unknown outcome too, nothing stays held.
            Err(Error::TimedOut { .. } | Error::UnknownOutcome { .. }) => {
                until_free(&f.a, &key).await;
            }
            Err(other) => panic!("round {round}: {other:?}"),
        }
    }
}

pub(crate) async fn waiters_are_served_in_the_order_in_which_they_came(f: Fixture) {
    let key = f.key("k");
    let lease = f.a.acquire(&key).await.expect("free");
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for n in 0..20 {
        waiting.push(queue(&f, &key, n, &served).await);
    }
    assert!(f.a.release_lease(&lease).await.expect("answered"));
    for waiter in waiting {
        within(LONG, "every waiter", waiter).await.expect("no panic");
    }
    assert_eq!(*served.lock().await, (0..20).collect::<Vec<_>>());
}

pub(crate) async fn those_who_gave_up_leave_the_order_as_it_was(f: Fixture) {
    let key = f.key("k");
    let lease = f.a.acquire(&key).await.expect("free");
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for n in 0..15 {
        waiting.push(queue(&f, &key, n, &served).await);
    }
    for gone in waiting.iter().step_by(3) {
        gone.abort();
    }
    a_moment().await;
    let began = Instant::now();
    assert!(f.a.release_lease(&lease).await.expect("answered"));
    for waiter in waiting {
        let end = within(LONG, "every waiter", waiter).await;
        assert!(end.is_ok() || end.is_err_and(|end| end.is_cancelled()));
    }
    let stayed: Vec<usize> = (0..15).filter(|n| n % 3 != 0).collect();
    assert_eq!(*served.lock().await, stayed);
    assert!(began.elapsed() < SOON, "the gone cost nothing: {:?}", began.elapsed());
}

/// One more waiter in the queue, which writes down when it was served.
async fn queue(
    f: &Fixture,
    key: &str,
    n: usize,
    served: &Arc<Mutex<Vec<usize>>>,
) -> JoinHandle<()> {
    let (module, wanted, served) = (f.a.clone(), key.to_owned(), Arc::clone(served));
    let waiting = tokio::spawn(async move {
        let guard = module.lock(wanted).timeout(LONG).await.expect("its turn comes");
        served.lock().await.push(n);
        guard.release().await.expect("held to the end");
    });
    // Until it stands in the queue; a store that doesn't count them is given a moment.
    match waiters(f, key).await {
        Some(_) => until("it waits", || async { waiters(f, key).await > Some(n) }).await,
        None => a_moment().await,
    }
    waiting
}

/// How many wait for a held key, where the store tells.
async fn waiters(f: &Fixture, key: &str) -> Option<usize> {
    f.b.inspect(key).await.ok().flatten().and_then(|info| info.waiters)
}

pub(crate) async fn a_waiter_that_timed_out_is_not_granted_later(f: Fixture) {
    let key = f.key("k");
    let lease = f.a.acquire(&key).await.expect("free");
    let refused = f.b.acquire(&key).wait(ms(30)).await;
    assert_answer!(refused, Err(Error::TimedOut { .. }), "it is held");
    assert!(f.a.release_lease(&lease).await.expect("answered"));
    for _ in 0..20 {
        assert!(is_free(&f.a, &key).await, "nobody waits any more");
        tokio::time::sleep(ms(5)).await;
    }
}

pub(crate) async fn every_one_of_many_waiters_has_its_turn(f: Fixture) {
    let (key, inside) = (f.key("k"), Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    let count = f.scaled(50_000);
    let patience = LONG + ms(20 * count as u64);
    let waiting: Vec<_> = (0..count)
        .map(|n| {
            let module = if n % 2 == 0 { f.a.clone() } else { f.b.clone() };
            let (key, inside) = (key.clone(), Arc::clone(&inside));
            tokio::spawn(async move {
                let job = |_| async move {
                    use std::sync::atomic::Ordering::SeqCst;
                    always!(inside.fetch_add(1, SeqCst) == 0, "two jobs at once");
                    tokio::task::yield_now().await;
                    always!(inside.fetch_sub(1, SeqCst) == 1, "two jobs at once");
                };
                module.execute(key, job).timeout(patience).await
            })
        })
        .collect();
    for waiter in waiting {
        waiter.await.expect("no panic").expect("its turn comes");
    }
    until_free(&f.a, &key).await;
}

pub(crate) async fn a_waiter_is_told_at_once_however_long_it_has_waited(f: Fixture) {
    // One that asks every now and then, and less often with time, may be lucky a few times; a store that is
    // busy with others may be late once.
    let mut late = Vec::new();
    for round in 0..6 {
        let key = f.key(&round.to_string());
        let lease = f.a.acquire(&key).await.expect("free");
        let (module, wanted) = (f.b.clone(), key.clone());
        let waiting = tokio::spawn(async move {
            let granted = module.acquire(wanted).wait(LONG).await;
            granted.map(|_| Instant::now())
        });
        sleep(ms(450) + ms(37) * round).await;
        let released = Instant::now();
        // What this machine can do: a task that a timer wakes.
        let control = tokio::spawn(async move {
            sleep_until(released + ms(1)).await;
            released.elapsed()
        });
        assert!(f.a.release_lease(&lease).await.expect("answered"));
        let granted = soon("the waiter", waiting).await.expect("no panic").expect("granted");
        let (took, allowed) = (granted - released, ms(50) + control.await.expect("no panic"));
        late.extend((took > allowed).then_some((took, allowed)));
    }
    assert!(late.len() <= 1, "told after so long, and so long allowed: {late:?}");
}

pub(crate) async fn a_waiter_gets_its_key_within_a_second_however_long_it_has_waited(f: Fixture) {
    // One that asks less and less often may be lucky with a key or two.
    let mut holding = JoinSet::new();
    for n in 0..8 {
        let (holder, waiter, key) = (f.a.clone(), f.b.clone(), f.key(&n.to_string()));
        let (time, expires) = (ms(3_000 + 130 * n), n % 2 == 0);
        holding.spawn(async move {
            let expiry = if expires { time } else { LONG };
            let held = holder.acquire(&key).expire(expiry).await.expect("free");
            let end = Instant::now() + time;
            let waiting = tokio::spawn(async move { waiter.acquire(key).wait(LONG).await });
            sleep_until(end).await;
            if !expires {
                assert!(!waiting.is_finished(), "it waits");
                assert!(holder.release_lease(&held).await.expect("answered"));
            }
            soon("the waiter", waiting).await.expect("no panic").expect("granted");
        });
    }
    holding.join_all().await;
}

pub(crate) async fn an_occasional_waiter_waits_for_one_turn_of_a_busy_client(f: Fixture) {
    const ROUNDS: u64 = 40;
    let (key, begun) = (f.key("k"), Arc::new(AtomicU64::new(0)));
    let mut busy = JoinSet::new();
    for _ in 0..3 {
        let (module, key, begun) = (f.a.clone(), key.clone(), Arc::clone(&begun));
        busy.spawn(async move {
            loop {
                let job = |_| async {
                    begun.fetch_add(1, Ordering::SeqCst);
                    sleep(ms(1)).await;
                };
                module.execute(&key, job).timeout(LONG).await.expect("its turn comes");
            }
        });
    }
    let mut overtaken = 0;
    for _ in 0..ROUNDS {
        sleep(ms(fastrand::u64(5..25))).await;
        let before = begun.load(Ordering::SeqCst);
        let guard = f.b.lock(&key).timeout(LONG).await.expect("its turn comes");
        overtaken += begun.load(Ordering::SeqCst) - before;
        guard.release().await.expect("held to the end");
    }
    drop(busy);
    // A timer of a millisecond takes two: five holders are a turn of 10 ms, and half of one is left when somebody
    // comes. What the busy client asked for before that is for its next turn, after his.
    assert!(overtaken <= 5 * ROUNDS, "overtaken by {overtaken} holders in {ROUNDS} rounds");
    until_free(&f.b, &key).await;
}

pub(crate) async fn a_waiter_among_polling_clients_has_its_turn(f: Fixture) {
    let key = f.key("k");
    let first = f.a.acquire(&key).await.expect("free");
    let (module, wanted) = (f.b.clone(), key.clone());
    let waiting = tokio::spawn(async move { module.acquire(wanted).wait(LONG).await });
    a_moment().await;
    let (poller, wanted) = (f.a.clone(), key.clone());
    let polling = tokio::spawn(async move {
        loop {
            if let Ok(lease) = poller.acquire(&wanted).await {
                poller.release_lease(&lease).await.expect("answered");
            }
            tokio::task::yield_now().await;
        }
    });
    assert!(f.a.release_lease(&first).await.expect("answered"));
    within(Duration::from_secs(10), "the waiter", waiting)
        .await
        .expect("no panic")
        .expect("granted");
    polling.abort();
}
