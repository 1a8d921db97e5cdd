//! What is left behind, and how much can be held.

use std::time::Duration;

use locking_core::{Error, LockingModule};
use tokio::task::JoinSet;

use crate::fixture::Fixture;
use crate::support::{
    LONG, SHORT, SOON, a_moment, always, holds_within, let_expire, ms, until_free, until_within,
};

pub(crate) async fn many_keys_are_held_at_once(f: Fixture) {
    let count = f.scaled(100_000);
    let mut leases = Vec::with_capacity(count);
    for n in 0..count {
        match f.a.acquire(f.key(&n.to_string())).expire(LONG * 60).await {
            Ok(lease) => leases.push(lease),
            Err(error) => panic!("key {n} of {count}: {error}"),
        }
    }
    let far = f.key(&(count - 1).to_string());
    assert!(matches!(f.b.acquire(&far).await, Err(Error::Held { .. })), "all are really held");
    let other = f.b.acquire(f.key("other")).await.expect("others are not affected");
    assert!(f.b.release_lease(&other).await.expect("answered"));
    for lease in &leases {
        assert!(f.a.release_lease(lease).await.expect("answered"), "{lease:?}");
    }
}

pub(crate) async fn an_owner_with_few_keys_among_many_frees_just_those(f: Fixture) {
    let many: Vec<String> = (0..f.scaled(100_000)).map(|n| f.key(&format!("many{n}"))).collect();
    let few: Vec<String> = (0..100).map(|n| f.key(&format!("few{n}"))).collect();
    for keys in many.chunks(500) {
        f.a.acquire(keys).owner("many").await.expect("free");
    }
    f.a.acquire(&few).owner("few").await.expect("free");
    assert_eq!(f.b.release_all().owner("few").await.expect("answered"), 100);
    assert_eq!(f.b.release_all().owner("many").await.expect("answered"), many.len() as u64);
}

pub(crate) async fn nothing_is_left_behind(f: Fixture) {
    let baseline = f.entries().await;
    let rounds = f.scaled(100_000);
    for n in 0..rounds {
        let key = f.key(&format!("released{n}"));
        let owner = format!("owner{n}");
        f.a.acquire(&key).owner(&owner).expire(LONG).await.expect("free");
        assert!(f.b.release(&key).owner(&owner).await.expect("answered"));
        if n % 10 == 0 {
            f.a.acquire(f.key(&format!("expired{n}")))
                .owner(owner)
                .expire(ms(20))
                .await
                .expect("free");
            let refused = f.b.lock(f.key(&format!("expired{n}"))).timeout(ms(1)).await;
            drop(refused);
            f.a.execute([&key, &f.key("x")], |_| async {}).await.expect("the job ran");
        }
    }
    let limit = Duration::from_secs(20);
    back_at(&f, baseline, limit).await;
}

pub(crate) async fn tokens_go_on_after_the_clean_up(f: Fixture) {
    let (baseline, mut before) = (f.entries().await, Vec::new());
    for n in 0..10 {
        let acquire = |end: &str| f.a.acquire(f.key(&format!("{end}{n}"))).owner(end);
        before.push(acquire("released").expire(LONG).await.expect("free"));
        assert!(f.b.release_lease(&before[before.len() - 1]).await.expect("answered"));
        before.push(acquire("expired").expire(SHORT).await.expect("free"));
        before.push(acquire("freed").await.expect("free"));
    }
    assert_eq!(f.b.release_all().owner("freed").await.expect("answered"), 10);
    // The store forgets the keys, and nobody asks for them until it has.
    let_expire(SHORT).await;
    back_at(&f, baseline, Duration::from_secs(20)).await;
    for lease in before {
        let again = f.b.acquire(lease.key_set()).await.expect("free");
        always!(again.token() > lease.token(), "{again:?} after {lease:?}");
    }
}

pub(crate) async fn many_waiters_of_one_key_leave_nothing_when_they_go(f: Fixture) {
    let (baseline, key) = (f.entries().await, f.key("k"));
    let held = f.b.acquire(&key).await.expect("free");
    let waiting: Vec<_> = (0..f.scaled(50_000))
        .map(|n| {
            let (module, keys) = (f.a.clone(), [key.clone(), f.key(&format!("also{n}"))]);
            tokio::spawn(async move { module.acquire(keys).wait(LONG).await })
        })
        .collect();
    tokio::time::sleep(ms(100)).await;
    for waiter in &waiting {
        waiter.abort();
    }
    for waiter in waiting {
        assert!(waiter.await.is_err_and(|end| end.is_cancelled()), "it still waited");
    }
    assert!(f.b.release_lease(&held).await.expect("answered"));
    let limit = Duration::from_secs(20);
    back_at(&f, baseline, limit).await;
    until_free(&f.a, &key).await;
}

pub(crate) async fn mixed_work_of_many_clients_leaves_nothing(f: Fixture) {
    let (baseline, mut working) = (f.entries().await, JoinSet::new());
    for client in 0..8 {
        let (module, rounds) = (f.module().await, f.scaled(20_000));
        let keys: Vec<String> = (0..4).map(|n| f.key(&n.to_string())).collect();
        working.spawn(async move {
            for _ in 0..rounds {
                some_work(&module, &keys, client).await;
            }
        });
    }
    while let Some(ended) = working.join_next().await {
        ended.expect("no panic");
    }
    until_within(Duration::from_secs(20), "the store is back at its baseline", || async {
        f.entries().await <= baseline
    })
    .await;
    for key in 0..4 {
        until_free(&f.a, &f.key(&key.to_string())).await;
    }
}

/// Those on the runtime of the clients, that is: what else a provider has it runs elsewhere.
pub(crate) async fn no_task_is_left_behind(f: Fixture) {
    // Each client does all kinds of work, with as many at once as afterwards: what it starts once and for all
    // has been started then.
    let first = 4 * KINDS_OF_WORK;
    contend(&f, 0..first).await;
    let baseline = least_tasks().await;
    contend(&f, first..first + f.scaled(20_000)).await;
    let back = holds_within(Duration::from_secs(20), || async { tasks() <= baseline }).await;
    assert!(back, "{} tasks after the work, {baseline} before it", tasks());
}

/// Holds, waits and hand-offs on keys that were never used before, and some work on others.
async fn contend(f: &Fixture, keys: std::ops::Range<usize>) {
    let mut working = JoinSet::new();
    for n in keys {
        let key = f.key(&format!("contended{n}"));
        for module in [&f.a, &f.a, &f.b] {
            let (module, keys) = (module.clone(), [key.clone(), f.key("k")]);
            working.spawn(async move {
                let job = module.execute(&keys[0], |_| tokio::task::yield_now());
                job.timeout(10 * LONG).await.expect("its turn comes");
                work_of_kind(n % KINDS_OF_WORK, &module, &keys, n).await;
            });
        }
        while working.len() > 48 {
            working.join_next().await.expect("there are some").expect("no panic");
        }
    }
    working.join_all().await;
}

/// How many tasks there are on the case's runtime, which is its own.
fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// The same, when those have ended that linger.
async fn least_tasks() -> usize {
    let mut least = tasks();
    for _ in 0..30 {
        tokio::time::sleep(ms(100)).await;
        least = least.min(tasks());
    }
    least
}

/// Leases of owners and of nobody, that are released or expire, waits that end in every way.
async fn some_work(module: &LockingModule, keys: &[String], client: usize) {
    let keys = fastrand::choose_multiple(keys, fastrand::usize(1..=2));
    let keys: Vec<String> = keys.into_iter().cloned().collect();
    work_of_kind(fastrand::usize(..KINDS_OF_WORK), module, &keys, client).await;
}

const KINDS_OF_WORK: usize = 6;

async fn work_of_kind(kind: usize, module: &LockingModule, keys: &[String], client: usize) {
    let (owner, wait) = (format!("owner{client}"), ms(fastrand::u64(..6)));
    let acquire = module.acquire(keys).expire(ms(50)).wait(wait);
    let patience = Duration::from_micros(fastrand::u64(..8_000));
    match kind {
        0 => drop(acquire.await),
        1 => {
            if acquire.owner(&owner).await.is_ok() {
                // Expired meanwhile, or not.
                let _ = module.release(keys).owner(&owner).await;
            }
        }
        2 => {
            if let Ok(lease) = acquire.owner(&owner).await {
                let _ = module.extend(&lease, ms(20)).await;
                let _ = module.release_lease(&lease).await;
            }
        }
        3 => drop(tokio::time::timeout(patience, acquire.into_future()).await),
        4 => drop(tokio::time::timeout(patience, module.lock(keys).into_future()).await),
        _ => drop(module.execute(keys, |_| tokio::task::yield_now()).timeout(wait).await),
    }
}

pub(crate) async fn connections_do_not_grow_with_holds_and_waiters(f: Fixture) {
    hold_and_wait(&f, 64, 32).await;
    let few = f.server().connections().await;
    hold_and_wait(&f, f.scaled(100_000), f.scaled(20_000)).await;
    // One that takes another's place may be there beside it for a moment.
    let as_few = holds_within(5 * SOON, || async { f.server().connections().await <= few }).await;
    let many = f.server().connections().await;
    assert!(as_few, "{few} connections for few holds and waiters, {many} for many");
}

/// Holds so many keys; so many wait for as many others, and for one.
async fn hold_and_wait(f: &Fixture, holds: usize, waiters: usize) {
    let mut asking = JoinSet::new();
    for n in 0..holds {
        let (module, key) = (f.a.clone(), f.key(&format!("{holds}/{n}")));
        asking.spawn(async move { module.lock(key).timeout(LONG * 10).await.expect("free") });
    }
    let guards = asking.join_all().await;
    let mut waiting = JoinSet::new();
    for n in 0..waiters {
        for key in [guards[0].lease(), guards[n % guards.len()].lease()] {
            let (module, key) = (f.b.clone(), key.keys()[0].key.to_string());
            waiting.spawn(async move { module.acquire(key).expire(ms(200)).wait(LONG * 10).await });
        }
    }
    a_moment().await;
    let during = f.server().connections().await;
    drop(waiting);
    drop(guards);
    a_moment().await;
    // As many as afterwards: none comes and goes with them.
    assert!(during <= f.server().connections().await, "connections that go again");
}

/// Waits until the store keeps no more entries than that.
async fn back_at(f: &Fixture, baseline: Option<u64>, limit: Duration) {
    let is_back = holds_within(limit, || async { f.entries().await <= baseline }).await;
    let now = f.entries().await;
    assert!(is_back, "{now:?} entries after {limit:?}, {baseline:?} at the beginning");
}
