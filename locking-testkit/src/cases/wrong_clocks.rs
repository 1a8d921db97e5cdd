//! Processes whose wall clocks are an hour ahead and an hour behind. The server's clock decides when a
//! lease ends, and how long a guard is valid is told by a clock that only runs.

use std::time::Duration;

use locking_core::LockingModule;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::count_file::CountFile;
use crate::fixture::Fixture;
use crate::process::WallClock;
use crate::support::{LONG, SHORT, SOON, a_moment, always, is_free, ms, soon, until_free, within};

const HOUR: Duration = Duration::from_secs(3600);
const AHEAD: WallClock = WallClock::Ahead(HOUR);
const BEHIND: WallClock = WallClock::Behind(HOUR);

/// Long enough for a loaded machine to do something under it.
const LEASE: Duration = Duration::from_millis(1500);

/// By how much two clocks that run may differ after a lease.
const DRIFT: Duration = Duration::from_millis(20);

pub(crate) async fn a_held_key_is_refused(f: Fixture) {
    tokio::join!(is_refused_held_keys(&f, AHEAD), is_refused_held_keys(&f, BEHIND));
}

async fn is_refused_held_keys(f: &Fixture, clock: WallClock) {
    let process = f.process_with(clock).await;
    let keys = ["leased", "endless", "guarded"].map(|name| f.key(&format!("{name} {clock}")));
    let leased = f.a.acquire(&keys[0]).expire(LONG).await.expect("free");
    let endless = f.a.acquire(&keys[1]).await.expect("free");
    let guard = f.a.lock(&keys[2]).lease(LONG).await.expect("free");
    for key in &keys {
        let refused = process.acquire(key, None, None, Duration::ZERO).await;
        assert_eq!(refused.expect_err("held").outcome, "held", "{key}");
        let refused = process.lock(key, LONG, SHORT).await;
        assert_eq!(refused.expect_err("held").outcome, "timed out", "{key}");
    }
    guard.check().expect("undisturbed");
    for lease in [&leased, &endless] {
        assert!(f.b.release_lease(lease).await.expect("answered"), "undisturbed: {lease:?}");
    }
    let tokens = [leased.token(), endless.token(), guard.token()];
    guard.release().await.expect("held to the end");
    for (key, token) in keys.iter().zip(tokens) {
        let next = soon("a free key", process.lock(key, LONG, LONG)).await.expect("free");
        always!(next > token, "{key}: {next} after {token}");
    }
}

pub(crate) async fn a_lease_ends_neither_early_nor_late(f: Fixture) {
    tokio::join!(has_leases_that_end_in_time(&f, AHEAD), has_leases_that_end_in_time(&f, BEHIND));
}

async fn has_leases_that_end_in_time(f: &Fixture, clock: WallClock) {
    let process = f.process_with(clock).await;
    let [own, reentered, longer] =
        ["own", "reentered", "longer"].map(|name| f.key(&format!("{name} {clock}")));
    let acquire = |key: &str, expire| process.acquire(key, Some("o"), Some(expire), Duration::ZERO);
    let mut ends = Vec::new();
    // Whoever reenters a key compares its end with one by his own time.
    let asked = Instant::now();
    acquire(&own, LEASE).await.expect("free");
    ends.push(ends_in_time(&f.b, own.clone(), asked));
    f.a.acquire(&own).owner("o").expire(SHORT).await.expect("the owner's");
    let asked = Instant::now();
    f.a.acquire(&reentered).owner("o").expire(LEASE).await.expect("free");
    ends.push(ends_in_time(&f.b, reentered.clone(), asked));
    acquire(&reentered, SHORT).await.expect("the owner's");
    f.a.acquire(&longer).owner("o").expire(LEASE / 2).await.expect("free");
    let asked = Instant::now();
    acquire(&longer, LEASE).await.expect("the owner's");
    ends.push(ends_in_time(&f.b, longer.clone(), asked));
    for end in ends {
        end.await.expect("in time");
    }
    for key in [own, reentered, longer] {
        let released = process.release(&key, Some("o")).await;
        assert!(!released.expect("answered"), "{key} is another's");
    }
}

/// Waits for a key that was asked for at this time, for [`LEASE`].
fn ends_in_time(module: &LockingModule, key: String, asked: Instant) -> JoinHandle<()> {
    let module = module.clone();
    tokio::spawn(async move {
        let next = within(LEASE + SOON, &key, module.acquire(&key).wait(LONG)).await;
        let held = asked.elapsed();
        next.expect("granted at its end");
        assert!(held + DRIFT >= LEASE, "{key} was free after {held:?}");
    })
}

pub(crate) async fn a_guard_is_kept_and_its_loss_is_found_out(f: Fixture) {
    tokio::join!(keeps_and_loses_a_guard(&f, AHEAD), keeps_and_loses_a_guard(&f, BEHIND));
}

async fn keeps_and_loses_a_guard(f: &Fixture, clock: WallClock) {
    let (key, process) = (f.key(&clock.to_string()), f.process_with(clock).await);
    let token = process.lock(&key, LEASE, SOON).await.expect("free");
    let renewed_until = Instant::now() + LEASE * 2;
    while Instant::now() < renewed_until {
        process.check(&key).await.expect("not lost early");
        assert!(!is_free(&f.a, &key).await, "{key}: not free early");
        a_moment().await;
    }
    process.stop().await;
    let next = f.a.lock(&key).timeout(LONG);
    let next = within(LEASE + SOON, "the next holder", next).await.expect("free by then");
    always!(next.token() > token, "{key}: {} after {token}", next.token());
    process.go_on();
    let first_look = soon("its first look", process.check(&key)).await;
    always!(first_look.is_err(), "two believe in `{key}`");
    assert_eq!(first_look.expect_err("not kept late").outcome, "lost", "{key}");
    next.check().expect("the next holder holds it");
    next.release().await.expect("held to the end");
}

pub(crate) async fn a_key_is_handed_over_in_time(f: Fixture) {
    tokio::join!(hands_over_in_time(&f, AHEAD), hands_over_in_time(&f, BEHIND));
}

async fn hands_over_in_time(f: &Fixture, clock: WallClock) {
    let (key, process) = (f.key(&clock.to_string()), f.process_with(clock).await);
    let asked = Instant::now();
    let first = f.a.acquire(&key).expire(LEASE).await.expect("free");
    let second = within(LEASE + SOON, "an expired key", process.lock(&key, LONG, LONG)).await;
    let (second, held) = (second.expect("granted at its end"), asked.elapsed());
    assert!(held + DRIFT >= LEASE, "{key} was free after {held:?}");
    let (module, wanted) = (f.a.clone(), key.clone());
    let third = tokio::spawn(async move { module.lock(wanted).lease(LONG).timeout(LONG).await });
    a_moment().await;
    process.unlock(&key).await.expect("held to the end");
    let third = soon("who waits for it", third).await.expect("no panic").expect("granted");
    let fourth = process.lock(&key, LONG, LONG);
    a_moment().await;
    let tokens = (first.token(), second, third.token());
    third.release().await.expect("held to the end");
    let fourth = soon("it in its turn", fourth).await.expect("granted");
    let (first, second, third) = tokens;
    let ordered = first < second && second < third && third < fourth;
    always!(ordered, "{tokens:?}, then {fourth}");
    process.unlock(&key).await.expect("held to the end");
    until_free(&f.b, &key).await;
}

pub(crate) async fn processes_hours_apart_exclude_each_other(f: Fixture) {
    let (key, file) = (f.key("k"), CountFile::new(&f));
    let (ahead, behind) = (f.process_with(AHEAD).await, f.process_with(BEHIND).await);
    let times = u32::try_from(f.scaled(2_000).max(50)).expect("a few thousand");
    let (one, other) = tokio::join!(
        within(LONG + ms(20) * times, "the one ahead", ahead.count(&key, file.path(), times)),
        within(LONG + ms(20) * times, "the one behind", behind.count(&key, file.path(), times)),
    );
    one.expect("counted");
    other.expect("counted");
    let (counted, all) = (file.read(), u64::from(2 * times));
    always!(counted == all, "{counted} increments of {all} count");
    for process in [ahead, behind] {
        within(LONG, "its end", process.exit()).await;
    }
    until_free(&f.a, &key).await;
}
