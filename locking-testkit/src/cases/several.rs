//! Several keys in one call: all or nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use locking_core::{Error, Lease};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::fixture::Fixture;
use crate::support::{
    LONG, SHORT, SOON, a_moment, always, assert_answer, is_free, let_expire, ms, soon, until_free,
    until_within,
};

fn keys(f: &Fixture, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| f.key(name)).collect()
}

pub(crate) async fn a_refused_call_takes_none_of_its_keys(f: Fixture) {
    let all = keys(&f, &["1", "2", "3", "4", "5"]);
    f.b.acquire(&all[2]).await.expect("free");
    assert_answer!(f.a.acquire(&all).expire(LONG).await, Err(Error::Held { .. }), "key 3 is held");
    for at in [0, 1, 3, 4] {
        until_free(&f.b, &all[at]).await;
    }
}

pub(crate) async fn a_call_that_times_out_takes_none_of_its_keys(f: Fixture) {
    let all = keys(&f, &["1", "2", "3", "4", "5"]);
    f.b.acquire(&all[2]).await.expect("free");
    let refused = f.a.acquire(&all).wait(ms(50)).await;
    assert_answer!(refused, Err(Error::TimedOut { .. }), "key 3 is held");
    for at in [0, 1, 3, 4] {
        until_free(&f.b, &all[at]).await;
    }
}

pub(crate) async fn the_first_blocking_key_in_byte_order_is_named(f: Fixture) {
    let all = keys(&f, &["1", "2", "3"]);
    f.b.acquire([&all[1], &all[2]]).await.expect("free");
    let backwards = [&all[2], &all[1], &all[0]];
    let refused = f.a.acquire(backwards).await;
    assert_answer!(refused, Err(Error::Held { key, .. }) if key.as_str() == all[1], "held");
    let refused = f.a.acquire(backwards).wait(ms(20)).await;
    assert_answer!(refused, Err(Error::TimedOut { key, .. }) if key.as_str() == all[1], "timed out");
}

pub(crate) async fn the_blocking_key_is_named_by_its_bytes_not_by_its_letters(f: Fixture) {
    let all = keys(&f, &["1", "10", "2", "B", "Z", "_", "a", "\u{e4}"]);
    let mut asked = all.clone();
    asked.reverse();
    for (n, key) in all.iter().enumerate().rev() {
        f.b.acquire(key).await.expect("free");
        let refused = f.a.acquire(&asked).await;
        let first = |named: &str| named == all[n];
        assert_answer!(refused, Err(Error::Held { key, .. }) if first(key.as_str()), "{key}");
        let refused = f.a.acquire(&asked).wait(ms(20)).await;
        assert_answer!(refused, Err(Error::TimedOut { key, .. }) if first(key.as_str()), "{key}");
        asked.rotate_left(3);
    }
}

pub(crate) async fn a_key_named_twice_counts_once(f: Fixture) {
    let key = f.key("k");
    let lease = f.a.acquire([&key, &key]).await.expect("not in its own way");
    assert_eq!(lease.keys().len(), 1);
    assert!(f.a.release([&key, &key]).await.expect("answered"), "released as one");
    assert!(is_free(&f.b, &key).await);
}

pub(crate) async fn reentered_keys_stay_as_they_were_when_the_call_is_refused(f: Fixture) {
    let refused = fails_to_reenter_and_take(&f, Duration::ZERO).await;
    assert_answer!(refused, Error::Held { .. }, "one key is theirs");
}

pub(crate) async fn reentered_keys_stay_as_they_were_when_the_call_times_out(f: Fixture) {
    let refused = fails_to_reenter_and_take(&f, ms(50)).await;
    assert_answer!(refused, Error::TimedOut { .. }, "one key is theirs");
}

/// Why a call for a key of its owner's and another's failed, after which its owner's is as it was.
async fn fails_to_reenter_and_take(f: &Fixture, wait: Duration) -> Error {
    let (mine, theirs) = (f.key("1"), f.key("2"));
    let began = Instant::now();
    let before = f.a.acquire(&mine).owner("o").expire(SHORT).await.expect("free");
    f.b.acquire(&theirs).await.expect("free");
    let refused = f.a.acquire([&mine, &theirs]).owner("o").expire(LONG).wait(wait).await;
    assert_answer!(f.b.acquire(&mine).await, Err(Error::Held { .. }), "still held");
    let again = f.a.acquire(&mine).owner("o").await.expect("still mine");
    assert_eq!(again.token(), before.token(), "the same hold");
    // Not extended: it ends as it would have.
    f.b.acquire(&mine).wait(SHORT + ms(1000)).await.expect("free after its own expiry");
    assert!(began.elapsed() >= SHORT, "not freed either: {:?}", began.elapsed());
    refused.expect_err("one key is theirs")
}

pub(crate) async fn an_own_key_that_another_took_meanwhile_is_waited_for(f: Fixture) {
    for [mine, theirs] in [["1", "2"], ["4", "3"]].map(|names| names.map(|name| f.key(name))) {
        let (_, held, waiting) = waits_for_theirs(&f, &mine, &theirs, SHORT).await;
        let x = f.b.acquire(&mine).owner("x").expire(LONG).wait(SHORT + SOON).await;
        let x = x.expect("free after its expiry, while another waits for both");
        assert!(f.b.release_lease(&held).await.expect("answered"));
        tokio::time::sleep(ms(200)).await;
        f.b.extend(&x, LONG).await.expect("its hold was not ended");
        always!(!waiting.is_finished(), "two holders of `{mine}`");
        assert!(f.b.release_lease(&x).await.expect("answered"));
        let both = soon("the waiter", waiting).await.expect("no panic").expect("granted");
        let (token, all) = (both.token_of(&mine), both.keys().len());
        assert_eq!(both.taken().count(), all, "both are taken: {both:?}");
        always!(token > Some(x.token()), "{both:?} after {x:?}");
        assert!(f.a.release_lease(&both).await.expect("answered"), "both are held");
    }
}

pub(crate) async fn an_own_key_that_ended_meanwhile_is_taken_anew(f: Fixture) {
    for [mine, theirs] in [["1", "2"], ["4", "3"]].map(|names| names.map(|name| f.key(name))) {
        let (before, held, waiting) = waits_for_theirs(&f, &mine, &theirs, SHORT).await;
        let_expire(SHORT).await;
        assert!(f.b.release_lease(&held).await.expect("answered"));
        let both = soon("the waiter", waiting).await.expect("no panic").expect("granted");
        let (token, all) = (both.token_of(&mine), both.keys().len());
        assert_eq!(both.taken().count(), all, "both are taken: {both:?}");
        always!(token > Some(before.token()), "{both:?} after {before:?}");
        assert!(f.a.release_lease(&both).await.expect("answered"), "both are held");
    }
}

pub(crate) async fn an_own_key_is_reentered_and_extended_after_a_wait(f: Fixture) {
    let expiry = 2 * SHORT;
    for [mine, theirs] in [["1", "2"], ["4", "3"]].map(|names| names.map(|name| f.key(name))) {
        let (before, held, waiting) = waits_for_theirs(&f, &mine, &theirs, expiry).await;
        assert!(f.b.release_lease(&held).await.expect("answered"));
        let both = soon("the waiter", waiting).await.expect("no panic").expect("granted");
        assert_eq!(both.token_of(&mine), Some(before.token()), "the same hold");
        let taken: Vec<&str> = both.taken().map(|leased| leased.key.as_str()).collect();
        assert_eq!(taken, [&theirs]);
        let_expire(expiry).await;
        assert_answer!(f.b.acquire(&mine).await, Err(Error::Held { .. }), "extended");
    }
}

/// An owner's lease of one key, another's of the other one, and who waits for both as that owner.
async fn waits_for_theirs(
    f: &Fixture,
    mine: &str,
    theirs: &str,
    expiry: Duration,
) -> (Lease, Lease, JoinHandle<locking_core::Result<Lease>>) {
    let held = f.b.acquire(theirs).owner("them").await.expect("free");
    let before = f.a.acquire(mine).owner("o").expire(expiry).await.expect("free");
    let (module, both) = (f.a.clone(), [mine.to_owned(), theirs.to_owned()]);
    let acquire = async move { module.acquire(both).owner("o").expire(LONG).wait(LONG).await };
    let waiting = tokio::spawn(acquire);
    a_moment().await;
    assert!(!waiting.is_finished(), "it waits");
    (before, held, waiting)
}

pub(crate) async fn sets_that_overlap_in_any_order_never_deadlock(f: Fixture) {
    let all = Arc::new(keys(&f, &["0", "1", "2", "3", "4"]));
    let busy: Arc<Vec<AtomicBool>> = Arc::new(all.iter().map(|_| AtomicBool::new(false)).collect());
    let rounds = f.scaled_by_turns(5_000).max(5);
    let mut tasks = JoinSet::new();
    for n in 0..16 {
        let module = if n % 2 == 0 { f.a.clone() } else { f.b.clone() };
        let (all, busy) = (Arc::clone(&all), Arc::clone(&busy));
        tasks.spawn(async move {
            for round in 0..rounds {
                let first = (n + round) % 5;
                let mut chosen = vec![first, (first + 1 + n % 4) % 5, first];
                if n % 3 == 0 {
                    chosen.reverse();
                }
                let names: Vec<&String> = chosen.iter().map(|at| &all[*at]).collect();
                let guard = module.lock(names).timeout(LONG).await.expect("its turn comes");
                chosen.sort_unstable();
                chosen.dedup();
                for at in &chosen {
                    always!(!busy[*at].swap(true, Ordering::SeqCst), "two holders of one key");
                }
                tokio::task::yield_now().await;
                for at in &chosen {
                    busy[*at].store(false, Ordering::SeqCst);
                }
                guard.release().await.expect("held to the end");
            }
        });
    }
    tasks.join_all().await;
}

pub(crate) async fn a_call_that_is_refused_is_invisible_to_others(f: Fixture) {
    let all = keys(&f, &["1", "2"]);
    f.b.acquire(&all[1]).await.expect("free");
    let stop = Arc::new(AtomicBool::new(false));
    let mut asking = JoinSet::new();
    for _ in 0..4 {
        let (module, all, stop) = (f.a.clone(), all.clone(), Arc::clone(&stop));
        asking.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let refused = module.acquire(&all).await;
                assert_answer!(refused, Err(Error::Held { .. }), "key 2 is held");
                tokio::task::yield_now().await;
            }
        });
    }
    let began = Instant::now();
    while began.elapsed() < ms(f.scaled(30_000) as u64) {
        assert!(is_free(&f.b, &all[0]).await, "nobody has key 1");
        tokio::time::sleep(ms(1)).await;
    }
    stop.store(true, Ordering::SeqCst);
    asking.join_all().await;
}

pub(crate) async fn a_call_that_waits_keeps_no_free_key_from_others(f: Fixture) {
    let all = keys(&f, &["1", "2"]);
    f.b.acquire(&all[1]).await.expect("free");
    let (module, both) = (f.a.clone(), all.clone());
    let waiting = tokio::spawn(async move { module.acquire(both).wait(LONG).await });
    for _ in 0..10 {
        assert!(is_free(&f.b, &all[0]).await, "key 1 is free while another waits for key 2");
        tokio::time::sleep(ms(5)).await;
    }
    assert!(f.b.release(&all[1]).await.expect("answered"));
    let both = waiting.await.expect("no panic").expect("both are free now");
    assert!(f.a.release_lease(&both).await.expect("answered"));
    for _ in 0..5 {
        let [one, other] = [f.b.acquire(&all[0]).await, f.b.acquire(&all[1]).await];
        let (module, both) = (f.a.clone(), all.clone());
        let waiting = tokio::spawn(async move { module.acquire(both).wait(LONG).await });
        a_moment().await;
        assert!(f.b.release_lease(&one.expect("free")).await.expect("answered"));
        assert!(is_free(&f.b, &all[0]).await, "key 1 was given back while another waits for both");
        assert!(f.b.release_lease(&other.expect("free")).await.expect("answered"));
        let both = waiting.await.expect("no panic").expect("both are free now");
        assert!(f.a.release_lease(&both).await.expect("answered"));
    }
}

pub(crate) async fn several_busy_keys_share_one_deadline(f: Fixture) {
    let names: Vec<String> = (0..10).map(|n| f.key(&n.to_string())).collect();
    f.b.acquire(&names).await.expect("free");
    let asked = Instant::now();
    let refused = f.a.acquire(&names).wait(ms(300)).await;
    assert_answer!(refused, Err(Error::TimedOut { .. }), "all are held");
    let took = asked.elapsed();
    assert!(took >= ms(295) && took < ms(800), "one deadline for all ten, not one each: {took:?}");
}

pub(crate) async fn a_call_for_several_keys_gets_its_turn_among_calls_for_one(f: Fixture) {
    gets_its_turn(&f, &[&["1", "2"]], &[&["1"], &["2"]], ms(1), 5).await;
}

pub(crate) async fn a_call_for_several_keys_gets_its_turn_beside_two_busy_clients(f: Fixture) {
    gets_its_turn(&f, &[&["1", "2"]], &[&["1"]], ms(1), 5).await;
}

pub(crate) async fn a_call_for_several_keys_gets_its_turn_among_long_holds(f: Fixture) {
    gets_its_turn(&f, &[&["1", "2"]], &[&["1"], &["2"]], ms(100), 1).await;
}

pub(crate) async fn a_call_for_one_key_gets_its_turn_among_calls_for_several(f: Fixture) {
    gets_its_turn(&f, &[&["1"], &["2"]], &[&["1", "2"]], ms(5), 6).await;
}

/// Locks these, by turns, while tasks of two clients are busy on those, by turns.
async fn gets_its_turn(
    f: &Fixture,
    wanted: &[&[&str]],
    busy: &[&[&str]],
    hold: Duration,
    rounds: usize,
) {
    let (stop, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut others = JoinSet::new();
    for n in 0..6 {
        let module = if n % 2 == 0 { f.a.clone() } else { f.b.clone() };
        let keys = keys(f, busy[n % busy.len()]);
        let (stop, turns) = (Arc::clone(&stop), Arc::clone(&turns));
        others.spawn(async move {
            // The keys become free by turns, as far from each other as can be.
            tokio::time::sleep(hold / 2 * u32::from(n % 2 == 1)).await;
            while !stop.load(Ordering::SeqCst) {
                let guard = module.lock(&keys).timeout(LONG).await.expect("its turn comes");
                turns.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(hold).await;
                guard.release().await.expect("held to the end");
            }
        });
    }
    let at_work = || async { turns.load(Ordering::SeqCst) > 20 };
    until_within(LONG, "the others are at work", at_work).await;
    for round in 0..rounds {
        let wanted = keys(f, wanted[round % wanted.len()]);
        let guard = f.a.lock(&wanted).timeout(Duration::from_secs(10)).await;
        guard.expect("its turn comes").release().await.expect("held to the end");
    }
    stop.store(true, Ordering::SeqCst);
    others.join_all().await;
}

pub(crate) async fn calls_for_several_keys_are_served_in_their_order(f: Fixture) {
    let all = keys(&f, &["1", "2"]);
    let first = f.b.acquire(&all[0]).await.expect("free");
    let second = f.b.acquire(&all[1]).await.expect("free");
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = JoinSet::new();
    for n in 0..20 {
        // The first one wants but the key that is held for longer.
        let wanted = if n == 0 { vec![all[1].clone()] } else { all.clone() };
        let (module, served) = (f.a.clone(), Arc::clone(&served));
        waiting.spawn(async move {
            let lease = module.acquire(wanted).wait(LONG).await.expect("its turn comes");
            served.lock().expect("no panic").push(n);
            assert!(module.release_lease(&lease).await.expect("answered"));
        });
        a_moment().await;
    }
    // From here on all wait for the other key.
    assert!(f.b.release_lease(&first).await.expect("answered"));
    tokio::time::sleep(ms(500)).await;
    assert!(f.b.release_lease(&second).await.expect("answered"));
    waiting.join_all().await;
    let served = served.lock().expect("no panic");
    assert!(served.is_sorted(), "first come, first served: {served:?}");
}
