//! Waiters that are told of a release, and those whose notifications are lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use locking_core::{IntoKeys, LockingModule};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::trial::AGAIN;
use crate::faults::{Connection, Direction, Fault, Proxy};
use crate::fixture::Fixture;
use crate::support::{LONG, SOON, a_moment, ms, soon, until_free, until_within, within};

pub(crate) async fn no_wake_up_is_lost_while_they_are_cut(f: Fixture) {
    let (key, count) = (f.key("k"), f.scaled(500).max(60));
    let held = f.b.acquire(&key).await.expect("free");
    // When the key was last given back: from then on, somebody is to have it soon.
    let free_since = Arc::new(Mutex::new(Instant::now()));
    let (clients, mut waiting) = (clients_for(&f, count).await, JoinSet::new());
    for n in 0..count {
        let (module, key) = (clients[n % clients.len()].clone(), key.clone());
        waiting.spawn(wait_for_a_turn(module, key, n, Arc::clone(&free_since)));
    }
    a_moment().await;
    let cutting = async {
        loop {
            f.server().cut_notifications().await;
            sleep(ms(fastrand::u64(..40))).await;
        }
    };
    let working = async {
        *free_since.lock().await = Instant::now();
        assert!(f.b.release_lease(&held).await.expect("answered"));
        while let Some(ended) = waiting.join_next().await {
            ended.expect("its turn came");
        }
    };
    tokio::select! {
        () = cutting => {}
        () = within(LONG + SOON * 5 * u32::try_from(count).unwrap_or(u32::MAX) / 10, "all", working) => {}
    }
    until_free(&f.b, &key).await;
}

/// As many clients as it takes for each to wait ten times or some more, so that those who wait at the
/// server are many, too.
async fn clients_for(f: &Fixture, waiters: usize) -> Vec<LockingModule> {
    let mut clients = Vec::new();
    // Not so many that a server's connections don't suffice.
    for _ in 0..(waiters / 10).min(12) {
        clients.push(f.module().await);
    }
    clients
}

/// Has the key once, as a lease or as a guard.
async fn wait_for_a_turn(
    module: LockingModule,
    key: String,
    n: usize,
    free_since: Arc<Mutex<Instant>>,
) {
    let patience = LONG * 60;
    let granted = async |lease, guard| {
        let mut since = free_since.lock().await;
        let waited = since.elapsed();
        assert!(waited < SOON, "nobody had the free key for {waited:?}");
        sleep(ms(fastrand::u64(..3))).await;
        *since = Instant::now();
        drop(guard);
        if let Some(lease) = lease {
            assert!(module.release_lease(&lease).await.expect("answered"), "held");
        }
    };
    if n.is_multiple_of(2) {
        let lease = module.acquire(&key).wait(patience).await.expect("its turn comes");
        granted(Some(lease), None).await;
    } else {
        let guard = module.lock(&key).timeout(patience).await.expect("its turn comes");
        granted(None, Some(guard)).await;
    }
}

pub(crate) async fn a_waiter_for_several_keys_gets_them_while_they_are_cut(f: Fixture) {
    for round in 0..f.scaled(300).max(20) {
        let keys = [f.key(&format!("{round}/1")), f.key(&format!("{round}/2"))];
        let one = f.b.acquire(&keys[0]).await.expect("free");
        let other = f.b.acquire(&keys[1]).await.expect("free");
        let waiting = wait(&f.a, &keys);
        sleep(ms(fastrand::u64(20..120))).await;
        assert!(f.b.release_lease(&one).await.expect("answered"));
        let cut = async {
            sleep(ms(fastrand::u64(..20))).await;
            f.server().cut_notifications().await;
        };
        let release = async {
            sleep(ms(fastrand::u64(..20))).await;
            assert!(f.b.release_lease(&other).await.expect("answered"));
            soon("the waiter", waiting).await.expect("no panic").expect("granted")
        };
        let ((), both) = tokio::join!(cut, release);
        assert!(f.a.release_lease(&both).await.expect("answered"), "granted is held");
    }
}

pub(crate) async fn a_waiter_for_several_keys_that_is_told_nothing_gets_them(f: Fixture) {
    let (_proxy, deaf) = deaf(&f).await;
    for round in 0..f.scaled(300) {
        let keys = [f.key(&format!("{round}/1")), f.key(&format!("{round}/2"))];
        let one = f.b.acquire(&keys[0]).await.expect("free");
        let other = f.b.acquire(&keys[1]).await.expect("free");
        let waiting = wait(&deaf, &keys);
        sleep(ms(fastrand::u64(50..550))).await;
        assert!(f.b.release_lease(&one).await.expect("answered"));
        a_moment().await;
        assert!(!waiting.is_finished(), "it waits for both");
        assert!(f.b.release_lease(&other).await.expect("answered"));
        soon("the waiter", waiting).await.expect("no panic").expect("granted");
        assert!(f.b.release(&keys).await.expect("answered"), "granted is held");
    }
}

/// A client that isn't told anything, behind its proxy.
async fn deaf(f: &Fixture) -> (Proxy, LockingModule) {
    let proxy = f.proxy().await;
    let deaf = LockingModule::with_provider(f.client_at(proxy.address()).await);
    for connection in notified_over(f, &proxy).await {
        connection.inject(Fault::Swallow { direction: Direction::ToClient });
    }
    (proxy, deaf)
}

pub(crate) async fn a_waiter_that_is_told_nothing_gets_a_released_key(f: Fixture) {
    let (_proxy, deaf) = deaf(&f).await;
    for round in 0..f.scaled(300) {
        let key = f.key(&round.to_string());
        let held = f.b.acquire(&key).await.expect("free");
        let waiting = [wait(&deaf, &key), wait(&f.a, &key)];
        sleep(ms(fastrand::u64(50..550))).await;
        assert!(f.b.release_lease(&held).await.expect("answered"));
        // Whoever is first; then the other one.
        let [one, other] = waiting;
        let (one, other) = soon("a waiter", futures_first(one, other)).await;
        one.expect("granted");
        assert!(f.b.release(&key).await.expect("answered"), "granted is held");
        soon("the other waiter", other).await.expect("no panic").expect("granted");
        assert!(f.b.release(&key).await.expect("answered"), "granted is held");
    }
}

pub(crate) async fn who_is_told_nothing_for_a_while_is_told_again(f: Fixture) {
    let (_proxy, deaf) = deaf(&f).await;
    // Nobody cuts them: the client finds out by itself.
    let again = Duration::from_secs(10);
    until_within(again, "ten times in a row, it is told at once", || async {
        for _ in 0..10 {
            let key = f.key("k");
            let held = f.b.acquire(&key).wait(LONG).await.expect("free, or soon");
            let mut waiting = wait(&deaf, &key);
            a_moment().await;
            assert!(f.b.release_lease(&held).await.expect("answered"));
            let at_once = timeout(ms(100), &mut waiting).await.is_ok();
            if !at_once {
                soon("the waiter", waiting).await.expect("no panic").expect("granted");
            }
            assert!(f.b.release(&key).await.expect("answered"), "granted is held");
            if !at_once {
                return false;
            }
        }
        true
    })
    .await;
}

type Waiting = tokio::task::JoinHandle<locking_core::Result<locking_core::Lease>>;

fn wait(module: &LockingModule, keys: impl IntoKeys) -> Waiting {
    let (module, keys) = (module.clone(), keys.into_keys().expect("valid"));
    tokio::spawn(async move { module.acquire(keys).wait(LONG).await })
}

/// The answer of whoever is first, and the other one.
async fn futures_first(
    mut one: Waiting,
    mut other: Waiting,
) -> (locking_core::Result<locking_core::Lease>, Waiting) {
    tokio::select! {
        first = &mut one => (first.expect("no panic"), other),
        first = &mut other => (first.expect("no panic"), one),
    }
}

/// Those of a client's connections over which it is notified: the server ends them, and they come
/// again.
async fn notified_over(f: &Fixture, proxy: &Proxy) -> Vec<Connection> {
    let numbers = || proxy.connections().iter().map(Connection::number).collect::<BTreeSet<_>>();
    let before = numbers();
    f.server().cut_notifications().await;
    until_within(AGAIN, "they are connected again", || async {
        let now = numbers();
        now.len() == before.len() && now != before
    })
    .await;
    // Until it listens on them, too.
    a_moment().await;
    let again = proxy.connections().into_iter();
    again.filter(|connection| !before.contains(&connection.number())).collect()
}

pub(crate) async fn waiting_and_releasing_cost_the_same_however_many_wait(f: Fixture) {
    let many = f.scaled(500).max(200);
    let clients = clients_for(&f, many / 10).await;
    let (few_idle, few_each) = cost_of_waiting(&f, &clients, many / 10).await;
    // In the same clients, it shows what each of them costs there.
    let crowded = cost_of_waiting(&f, &clients, many).await;
    drop(clients);
    // In more clients, more of them wait at the server.
    let spread = cost_of_waiting(&f, &clients_for(&f, many).await, many).await;
    for (many_idle, many_each) in [crowded, spread] {
        // Neither is exact: a slow machine looks more often.
        assert!(
            many_idle <= few_idle * 2.0 + 10.0,
            "commands of a client in a second of waiting: {few_idle} for few waiters, {many_idle} for ten times as many"
        );
        assert!(
            many_each <= few_each * 1.5 + 4.0,
            "commands per turn: {few_each} for few waiters, {many_each} for ten times as many"
        );
    }
}

/// How many commands the server executes in a second for a client while so many wait, and per turn.
async fn cost_of_waiting(f: &Fixture, clients: &[LockingModule], count: usize) -> (f64, f64) {
    let key = f.key(&format!("{count} in {}", clients.len()));
    let mut waiting = JoinSet::new();
    let held = f.b.acquire(&key).await.expect("free");
    for n in 0..count {
        let (module, key) = (clients[n % clients.len()].clone(), key.clone());
        waiting.spawn(async move {
            let lease = module.acquire(&key).wait(LONG * 10).await.expect("its turn comes");
            assert!(module.release_lease(&lease).await.expect("answered"), "held");
        });
    }
    a_moment().await;
    let idle = commands_while(f, sleep(Duration::from_secs(1))).await;
    let working = commands_while(f, async {
        assert!(f.b.release_lease(&held).await.expect("answered"));
        while let Some(ended) = waiting.join_next().await {
            ended.expect("its turn came");
        }
    })
    .await;
    (idle / clients.len() as f64, working / count as f64)
}

/// How many commands the server executes meanwhile.
async fn commands_while(f: &Fixture, meanwhile: impl Future<Output = ()>) -> f64 {
    let (first, before) = (f.server().commands().await, f.server().commands().await);
    meanwhile.await;
    (f.server().commands().await - before).saturating_sub(before - first) as f64
}
