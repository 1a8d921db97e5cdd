//! A client that the network cuts off without a word, while the server is there for others.

use std::time::Duration;

use locking_core::{Error, Lease, LockingModule, LossReason};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::processes::ASKED;
use super::trial::assert_uncertain;
use crate::faults::{Cut, Direction, Fault, Proxy};
use crate::fixture::Fixture;
use crate::support::{
    LONG, SOON, a_moment, always, assert_answer, is_free, ms, soon, until_free, until_within,
    within,
};

/// Within this time, any call is answered, and a dead connection is found out.
const BOUND: Duration = Duration::from_secs(10);

const BOTH: [Direction; 2] = [Direction::ToServer, Direction::ToClient];

async fn behind_a_proxy(f: &Fixture) -> (Proxy, LockingModule) {
    let proxy = f.proxy().await;
    let module = LockingModule::with_provider(f.client_at(proxy.address()).await);
    (proxy, module)
}

fn swallow(proxy: &Proxy) {
    for direction in BOTH {
        proxy.inject(Fault::Swallow { direction });
    }
}

pub(crate) async fn a_guard_is_lost_before_others_get_its_key(f: Fixture) {
    let lease = ms(800);
    for round in 0..f.scaled(200) {
        let (proxy, module) = behind_a_proxy(&f).await;
        // An answer that is late makes the lease no longer.
        proxy.inject(Fault::Delay { direction: Direction::ToClient, by: ms(80) });
        let key = f.key(&round.to_string());
        let guard = module.lock(&key).lease(lease).timeout(LONG).await.expect("free");
        let (others, wanted, context) = (f.b.clone(), key.clone(), guard.context());
        let waiting = tokio::spawn(async move {
            let next = others.lock(wanted).lease(LONG).timeout(LONG).await;
            (next, context.check())
        });
        // Renewed or not, by then.
        sleep(ms(fastrand::u64(100..900))).await;
        guard.check().expect("renewed");
        swallow(&proxy);
        let (reason, next) = tokio::join!(
            within(lease, "the guard's loss", guard.lost()),
            within(lease + ms(1000), "the waiter", waiting),
        );
        assert_eq!(reason, LossReason::Expired);
        let (next, checked) = next.expect("no panic");
        always!(checked.is_err(), "two believe in `{key}`");
        assert_answer!(checked, Err(Error::Lost { .. }), "lost before it is another's");
        let next = next.expect("granted");
        always!(next.token() > guard.token(), "{} after {}", next.token(), guard.token());
        drop(guard);
        next.release().await.expect("held to the end");
    }
}

pub(crate) async fn its_calls_end_and_it_works_again(f: Fixture) {
    let (proxy, module) = behind_a_proxy(&f).await;
    let key = f.key("k");
    let waiting = waits(&f, &module).await;
    swallow(&proxy);
    let began = Instant::now();
    let calls = async {
        let answer = within(BOUND, "an acquire", module.acquire(&key)).await;
        assert_uncertain(&answer.expect_err("nobody answers"));
    };
    let deadline = async {
        let answer = within(ms(1000), "a wait", module.lock(&key).timeout(ms(300))).await;
        assert_uncertain(&answer.expect_err("nobody answers"));
    };
    let others = async {
        while began.elapsed() < ms(1500) {
            let lease = soon("another client", f.b.acquire(f.key("other"))).await.expect("free");
            assert!(soon("another client", f.b.release_lease(&lease)).await.expect("answered"));
            sleep(ms(5)).await;
        }
    };
    tokio::join!(calls, deadline, others);
    proxy.restore();
    // The dead connections are found out by the client itself: nobody cuts them.
    works_again(&f, &module, &key, waiting).await;
}

pub(crate) async fn a_connection_that_only_one_end_lost_is_found_out(f: Fixture) {
    for told in BOTH {
        let (proxy, module) = behind_a_proxy(&f).await;
        let key = f.key("k");
        let waiting = waits(&f, &module).await;
        proxy.cut(Cut::HalfOpen { told });
        let answer = within(BOUND, "an acquire", module.acquire(&key)).await;
        match answer {
            Ok(lease) => assert!(module.release_lease(&lease).await.expect("answered"), "held"),
            Err(error) => assert_uncertain(&error),
        }
        works_again(&f, &module, &key, waiting).await;
    }
}

/// A lease of another client's, and a client that waits for it.
type Waiting = (Lease, JoinHandle<locking_core::Result<Lease>>);

async fn waits(f: &Fixture, module: &LockingModule) -> Waiting {
    let (module, held) = (module.clone(), f.key("held"));
    let theirs = f.b.acquire(&held).await.expect("free");
    let waiting = tokio::spawn(async move { module.acquire(held).wait(LONG).await });
    a_moment().await;
    (theirs, waiting)
}

/// By itself, the client works again, nothing is left of what it asked for, and its waiter has its turn.
async fn works_again(f: &Fixture, module: &LockingModule, key: &str, (theirs, waiting): Waiting) {
    until_usable_again(module, key).await;
    until_free(&f.b, key).await;
    assert!(f.b.release_lease(&theirs).await.expect("answered"));
    let next = soon("its waiter", waiting).await.expect("no panic").expect("granted");
    assert!(module.release_lease(&next).await.expect("answered"), "granted is held");
    until_free(&f.b, &f.key("held")).await;
}

pub(crate) async fn a_waiter_that_cannot_be_reached_costs_the_queue_less_than_a_second(f: Fixture) {
    for round in 0..f.scaled(200) {
        let (proxy, module) = behind_a_proxy(&f).await;
        let key = f.key(&round.to_string());
        let held = f.b.acquire(&key).await.expect("free");
        let waiting = |module: &LockingModule| {
            let (module, key) = (module.clone(), key.clone());
            tokio::spawn(async move { module.lock(key).timeout(LONG).await })
        };
        let first = waiting(&module);
        a_moment().await;
        let second = waiting(&f.a);
        a_moment().await;
        swallow(&proxy);
        sleep(ASKED).await;
        assert!(f.b.release_lease(&held).await.expect("answered"));
        let second = soon("who stands behind it", second).await.expect("no panic");
        second.expect("granted").release().await.expect("held to the end");
        proxy.restore();
        let first = within(BOUND, "its own turn", first).await.expect("no panic");
        first.expect("granted").release().await.expect("held to the end");
        until_free(&f.b, &key).await;
    }
}

pub(crate) async fn what_arrives_late_is_nobodys(f: Fixture) {
    for round in 0..f.scaled(300) {
        let (proxy, module) = behind_a_proxy(&f).await;
        let keys = [f.key(&format!("{round}/1")), f.key(&format!("{round}/2"))];
        let direction = if round % 2 == 0 { Direction::ToServer } else { Direction::ToClient };
        proxy.inject(Fault::Hold { direction });
        let (one, several, dropped) = tokio::join!(
            module.acquire(&keys[0]).wait(ms(100)),
            module.acquire(&keys).wait(ms(100)),
            tokio::time::timeout(ms(100), module.lock(&keys[1]).into_future()),
        );
        assert_uncertain(&one.expect_err("nobody answers"));
        assert_uncertain(&several.expect_err("nobody answers"));
        assert!(dropped.is_err(), "nobody answers");
        proxy.restore();
        for key in &keys {
            until_free(&f.b, key).await;
        }
        a_moment().await;
        for key in &keys {
            assert!(is_free(&f.b, key).await, "{key} stays free");
        }
    }
}

pub(crate) async fn what_arrives_after_it_was_taken_back_is_nobodys(f: Fixture) {
    for round in 0..f.scaled(100) {
        let (proxy, module) = behind_a_proxy(&f).await;
        let key = f.key(&round.to_string());
        let abandoned = proxy.connections();
        for connection in &abandoned {
            connection.inject(Fault::Hold { direction: Direction::ToServer });
        }
        let answer = module.acquire(&key).wait(ms(100)).await;
        let answer = answer.expect_err("nobody answers");
        // A client with connections to spare has taken it back in time.
        if !matches!(answer, Error::TimedOut { .. }) {
            assert_uncertain(&answer);
        }
        // Over other connections, it is taken back.
        until_usable_again(&module, &f.key("again")).await;
        sleep(SOON).await;
        // And now it comes.
        for connection in &abandoned {
            connection.restore();
        }
        for _ in 0..20 {
            assert!(is_free(&f.b, &key).await, "nobody wants it any more");
            sleep(ms(5)).await;
        }
    }
}

/// By itself, the client works again.
async fn until_usable_again(module: &LockingModule, key: &str) {
    until_within(BOUND, "it works again", || async {
        match module.acquire(key).await {
            Ok(lease) => matches!(module.release_lease(&lease).await, Ok(true)),
            Err(_) => false,
        }
    })
    .await;
}

pub(crate) async fn futures_dropped_while_replies_are_slow_leave_nothing(f: Fixture) {
    let (proxy, module) = behind_a_proxy(&f).await;
    proxy.inject(Fault::Delay { direction: Direction::ToServer, by: ms(5) });
    proxy.inject(Fault::Delay { direction: Direction::ToClient, by: ms(10) });
    for round in 0..f.scaled(4_000) {
        let keys = [f.key(&format!("{round}/1")), f.key(&format!("{round}/2"))];
        let held = f.b.acquire(&keys[0]).await.expect("free");
        let patience = Duration::from_micros(fastrand::u64(..60_000));
        let work = async {
            match round % 5 {
                0 => drop(module.acquire(&keys[0]).wait(LONG).await),
                1 => drop(module.lock(&keys).timeout(LONG).await),
                2 => drop(module.lock(&keys[1]).await),
                3 => drop(module.acquire(&keys).owner("o").wait(LONG).await),
                _ => drop(module.execute(&keys[0], |_| a_moment()).await),
            }
        };
        // Freed before, after or as it is dropped.
        let release = async {
            sleep(Duration::from_micros(fastrand::u64(..60_000))).await;
            assert!(f.b.release_lease(&held).await.expect("answered"), "round {round}");
        };
        let (dropped, ()) = tokio::join!(tokio::time::timeout(patience, work), release);
        if dropped.is_ok() {
            // What it answered is the caller's to give back.
            for owner in [None, Some("o")] {
                let release = f.b.release(&keys);
                let released = match owner {
                    None => release.await,
                    Some(owner) => release.owner(owner).await,
                };
                released.expect("answered");
            }
        }
        for key in &keys {
            until_free(&f.b, key).await;
        }
    }
}
