//! Futures that are dropped half way, at every await point.

use std::time::Duration;

use locking_core::{Error, Lease};
use tokio::time::Instant;

use crate::fixture::Fixture;
use crate::support::{
    LONG, SHORT, SOON, a_moment, assert_answer, is_free, ms, poll_once, polled, soon, until_free,
    until_within,
};

/// Dropped after so many polls at the most.
const POLLS: usize = 64;

pub(crate) async fn a_dropped_acquire_holds_nothing(f: Fixture) {
    for polls in 1..=POLLS {
        let keys = [f.key(&format!("{polls}/1")), f.key(&format!("{polls}/2"))];
        let acquire = f.a.acquire(&keys).owner("o").wait(LONG);
        if let Some(answer) = polled(polls, acquire).await {
            let lease = answer.expect("free");
            assert!(f.a.release_lease(&lease).await.expect("answered"), "granted means held");
            return;
        }
        for key in &keys {
            until_free(&f.b, key).await;
        }
    }
}

pub(crate) async fn a_dropped_wait_leaves_the_line(f: Fixture) {
    for polls in 1..=POLLS {
        let key = f.key(&polls.to_string());
        let held = f.b.acquire(&key).await.expect("free");
        let answer = polled(polls, f.a.acquire(&key).wait(ms(30))).await;
        assert!(f.b.release_lease(&held).await.expect("answered"));
        until_free(&f.b, &key).await;
        // No ghost comes after it.
        a_moment().await;
        assert!(is_free(&f.b, &key).await, "dropped after {polls} polls");
        if let Some(answer) = answer {
            assert_answer!(answer, Err(Error::TimedOut { .. }), "it was held");
            return;
        }
    }
}

pub(crate) async fn a_wait_that_is_dropped_as_it_is_granted_holds_nothing(f: Fixture) {
    for polls in 1..=POLLS {
        let key = f.key(&polls.to_string());
        let held = f.b.acquire(&key).await.expect("free");
        let mut waiting = Box::pin(f.a.acquire(&key).wait(LONG).into_future());
        for poll in 0..polls {
            let answer = poll_once(waiting.as_mut()).await;
            assert!(answer.is_pending(), "it is held: {answer:?}");
            // What it asked for has the time to arrive, or, further on, hasn't.
            if poll < 8 {
                tokio::time::sleep(ms(1)).await;
            }
        }
        assert!(f.b.release_lease(&held).await.expect("answered"));
        a_moment().await;
        // Granted meanwhile or not: it never hears of it.
        drop(waiting);
        until_free(&f.b, &key).await;
    }
}

pub(crate) async fn a_dropped_reentry_leaves_the_lease_as_it_was(f: Fixture) {
    for polls in 1..=POLLS {
        let (old, new) = (f.key(&format!("{polls}/1")), f.key(&format!("{polls}/2")));
        let first = f.a.acquire(&old).owner("o").await.expect("free");
        let held = f.b.acquire(&new).await.expect("free");
        let answer = polled(polls, f.a.acquire([&old, &new]).owner("o").wait(ms(30))).await;
        assert!(f.b.release_lease(&held).await.expect("answered"));
        until_free(&f.b, &new).await;
        assert!(f.a.release_lease(&first).await.expect("answered"), "the re-entered key stayed");
        if answer.is_some() {
            return;
        }
    }
}

pub(crate) async fn a_dropped_reentry_extends_nothing(f: Fixture) {
    let (theirs, mut kept) = (f.key("theirs"), Vec::new());
    f.b.acquire(&theirs).await.expect("free");
    for polls in 1..=POLLS {
        let mine = f.key(&polls.to_string());
        f.a.acquire(&mine).owner("o").expire(SHORT).await.expect("free");
        kept.push((mine.clone(), Instant::now() + SHORT));
        let again = f.a.acquire([&mine, &theirs]).owner("o").expire(LONG).wait(ms(30));
        if let Some(answer) = polled(polls, again).await {
            assert_answer!(answer, Err(Error::TimedOut { .. }), "one key is theirs");
            break;
        }
    }
    for (mine, end) in kept {
        let left = end.saturating_duration_since(Instant::now());
        until_within(left + SOON, "it ends as it would have", || is_free(&f.b, &mine)).await;
    }
}

pub(crate) async fn a_dropped_lock_holds_nothing(f: Fixture) {
    for polls in 1..=POLLS {
        let key = f.key(&polls.to_string());
        let answer = polled(polls, f.a.lock(&key)).await;
        match answer {
            None => until_free(&f.b, &key).await,
            Some(guard) => return guard.expect("free").release().await.expect("held to the end"),
        }
    }
}

pub(crate) async fn a_dropped_lock_that_waits_leaves_the_line(f: Fixture) {
    for polls in 1..=POLLS {
        let key = f.key(&polls.to_string());
        let held = f.b.acquire(&key).await.expect("free");
        let answer = polled(polls, f.a.lock(&key).timeout(ms(30))).await;
        assert!(f.b.release_lease(&held).await.expect("answered"));
        until_free(&f.b, &key).await;
        if answer.is_some() {
            return;
        }
    }
}

pub(crate) async fn a_dropped_execute_holds_nothing(f: Fixture) {
    for polls in 1..=POLLS {
        let key = f.key(&polls.to_string());
        let job = |_| async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        };
        let answer = polled(polls, f.a.execute(&key, job)).await;
        until_free(&f.b, &key).await;
        if let Some(answer) = answer {
            return answer.expect("the job ran");
        }
    }
}

pub(crate) async fn a_dropped_execute_that_waits_leaves_the_line(f: Fixture) {
    for polls in 1..=POLLS {
        let key = f.key(&polls.to_string());
        let held = f.b.acquire(&key).await.expect("free");
        let job = |_| async { panic!("the key is held") };
        let answer: Option<Result<(), _>> =
            polled(polls, f.a.execute(&key, job).timeout(ms(30))).await;
        assert!(f.b.release_lease(&held).await.expect("answered"));
        until_free(&f.b, &key).await;
        if let Some(answer) = answer {
            assert_answer!(answer, Err(Error::TimedOut { .. }), "it was held");
            return;
        }
    }
}

pub(crate) async fn a_dropped_migration_can_be_run_again(f: Fixture) {
    let key = f.key("k");
    let lease = f.a.acquire(&key).await.expect("free");
    for polls in 1..=POLLS {
        let answer = polled(polls, f.a.migrate()).await;
        // Nothing is half done: another one can run, and what is held stays.
        soon("another migration", f.b.migrate()).await.expect("answered");
        assert!(!is_free(&f.b, &key).await, "dropped after {polls} polls");
        if let Some(answer) = answer {
            answer.expect("migrated");
            break;
        }
    }
    assert!(f.a.release_lease(&lease).await.expect("answered"));
    until_free(&f.b, &key).await;
}

pub(crate) async fn a_guard_whose_release_is_dropped_is_given_back(f: Fixture) {
    for polls in 1..=POLLS {
        let key = f.key(&polls.to_string());
        let guard = f.a.lock(&key).await.expect("free");
        let answer = polled(polls, guard.release()).await;
        until_free(&f.b, &key).await;
        if answer.is_some() {
            return;
        }
    }
}

pub(crate) async fn a_dropped_release_frees_its_key_or_leaves_it(f: Fixture) {
    for polls in 1..=POLLS {
        let (key, other) = (f.key(&format!("{polls}/1")), f.key(&format!("{polls}/2")));
        f.a.acquire([&key, &other]).owner("o").await.expect("free");
        let answer = polled(polls, f.a.release(&key).owner("o")).await;
        // Released or not: the store answers, and a second call settles it.
        let again = soon("a second release", f.b.release(&key).owner("o")).await;
        assert!(!(again.expect("answered") && answer.is_some()), "released once");
        until_free(&f.b, &key).await;
        assert!(!is_free(&f.b, &other).await, "and nothing else is");
        if answer.is_some() {
            return;
        }
    }
}

pub(crate) async fn a_dropped_release_of_a_lease_can_be_repeated(f: Fixture) {
    for polls in 1..=POLLS {
        let key = f.key(&polls.to_string());
        let lease = f.a.acquire(&key).await.expect("free");
        let answer = polled(polls, f.a.release_lease(&lease)).await;
        soon("a second release", f.b.release_lease(&lease)).await.expect("answered");
        until_free(&f.b, &key).await;
        if answer.is_some() {
            return;
        }
    }
}

pub(crate) async fn a_dropped_extension_leaves_the_lease_held(f: Fixture) {
    for polls in 1..=POLLS {
        let key = f.key(&polls.to_string());
        let lease = f.a.acquire(&key).expire(LONG).await.expect("free");
        let answer = polled(polls, f.a.extend(&lease, SHORT)).await;
        settled(&f, &key, &lease).await;
        if answer.is_some() {
            return;
        }
    }
}

/// A lease is still what it was: it can be extended, released, and the key is then free.
async fn settled(f: &Fixture, key: &str, lease: &Lease) {
    soon("an extension", f.b.extend(lease, Duration::from_secs(20))).await.expect("still held");
    assert!(!is_free(&f.b, key).await);
    assert!(soon("a release", f.b.release_lease(lease)).await.expect("answered"));
    until_free(&f.b, key).await;
}

pub(crate) async fn a_dropped_release_all_can_be_repeated(f: Fixture) {
    for polls in 1..=POLLS {
        let keys: Vec<String> = (0..5).map(|n| f.key(&format!("{polls}/{n}"))).collect();
        f.a.acquire(&keys).owner("o").await.expect("free");
        let answer = polled(polls, f.a.release_all().owner("o")).await;
        soon("a second call", f.b.release_all().owner("o")).await.expect("answered");
        for key in &keys {
            until_free(&f.b, key).await;
        }
        if answer.is_some() {
            return;
        }
    }
}

pub(crate) async fn a_dropped_question_changes_nothing(f: Fixture) {
    let key = f.key("k");
    f.a.acquire(&key).await.expect("free");
    for polls in 1..=POLLS {
        let inspected = polled(polls, f.a.inspect(&key)).await;
        let listed = polled(polls, f.a.list()).await;
        let info = soon("another look", f.a.inspect(&key)).await.expect("answered");
        assert!(info.is_some(), "still held");
        if inspected.is_some() && listed.is_some() {
            return;
        }
    }
}

pub(crate) async fn close_goes_on_where_it_was_dropped(f: Fixture) {
    for polls in 1..=POLLS {
        let (key, module) = (f.key(&polls.to_string()), f.module().await);
        let guard = module.lock(&key).await.expect("free");
        let answer = polled(polls, module.close(ms(20))).await;
        let refused = module.acquire(f.key("other")).await;
        assert_answer!(refused, Err(Error::Closed { .. }), "granting stays stopped");
        soon("a second close", module.close(ms(20))).await.expect("answered");
        until_free(&f.b, &key).await;
        assert_answer!(guard.check(), Err(Error::Lost { .. }), "marked lost");
        if answer.is_some() {
            return;
        }
    }
}

pub(crate) async fn waits_cancelled_at_any_moment_leave_nothing(f: Fixture) {
    let key = f.key("k");
    for round in 0..f.scaled(10_000).max(200) {
        let held = f.b.acquire(&key).wait(ms(1000)).await.expect("free by now");
        let (module, wanted) = (f.a.clone(), key.clone());
        let waiting = tokio::spawn(async move {
            let lease = module.acquire(wanted).wait(LONG).await;
            // Granted: given back by whoever sees it.
            lease.map(drop)
        });
        tokio::time::sleep(Duration::from_micros(fastrand::u64(..300))).await;
        let released = f.b.release_lease(&held).await;
        // Between the grant and the moment at which the waiter hears of it, and around that.
        spin(Duration::from_micros(fastrand::u64(..20) * (round as u64 % 3)));
        waiting.abort();
        assert!(released.expect("answered"), "round {round}");
        if let Ok(granted) = waiting.await {
            granted.expect("granted");
            assert!(f.a.release(&key).await.expect("answered"), "round {round}: granted is held");
        }
        until_free(&f.b, &key).await;
    }
}

/// Lets less time pass than a timer can count.
fn spin(time: Duration) {
    let began = std::time::Instant::now();
    while began.elapsed() < time {
        std::hint::spin_loop();
    }
}
