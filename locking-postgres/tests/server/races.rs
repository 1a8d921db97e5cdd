//! Waits that end at the moment of a release.

use locking_core::{Error, LockingModule};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::{LONG, SOON, is_free, module, ms, scaled, until_nothing_is_left};

/// A wait for a key that is given back about when the wait ends. Answers whether it was granted.
async fn race(holder: &LockingModule, waiter: &LockingModule, key: &str) -> bool {
    // Never zero: who doesn't wait is refused as held.
    let moment = || std::time::Duration::from_micros(fastrand::u64(1..6_000));
    let held = holder.lock(key).timeout(LONG).await.expect("free, or soon");
    let release = async {
        sleep(moment()).await;
        held.release().await.expect("held to the end");
    };
    let (is_guard, is_dropped, patience) = (fastrand::bool(), fastrand::bool(), moment());
    let wait = async {
        let limit = if is_dropped { LONG } else { patience };
        let waiting = async {
            if is_guard {
                waiter.lock(key).timeout(limit).await.map(|guard| (Some(guard), None))
            } else {
                waiter.acquire(key).wait(limit).await.map(|lease| (None, Some(lease)))
            }
        };
        if is_dropped { timeout(patience, waiting).await.ok() } else { Some(waiting.await) }
    };
    let ((), answer) = tokio::join!(release, wait);
    match answer {
        Some(Ok((guard, lease))) => {
            assert!(!is_free(holder, key).await, "granted is held");
            if let Some(guard) = guard {
                guard.release().await.expect("held");
            }
            if let Some(lease) = lease {
                assert!(waiter.release_lease(&lease).await.expect("answered"), "held");
            }
            true
        }
        Some(Err(Error::TimedOut { .. })) => {
            assert!(is_free(holder, key).await, "an error means that it isn't held");
            false
        }
        // Dropped, or a slow machine is still taking it back.
        None | Some(Err(Error::UnknownOutcome { .. })) => {
            let undone = async {
                while !is_free(holder, key).await {
                    sleep(ms(2)).await;
                }
            };
            timeout(SOON, undone).await.expect("a wait that is over holds nothing for long");
            false
        }
        Some(Err(error)) => panic!("{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wait_that_ends_as_the_key_is_given_back_holds_it_or_leaves_nothing() {
    let server = crate::server().await;
    let clients = [module(&server).await, module(&server).await];
    // Half of them end by their timeout, half are dropped.
    let (tasks, rounds) = (16, scaled(200_000, 2_000) / 16);
    let mut racing = JoinSet::new();
    for task in 0..tasks {
        let (holder, waiter) = (clients[0].clone(), clients[task % 2].clone());
        racing.spawn(async move {
            let (key, mut granted) = (format!("k{task}"), 0);
            for _ in 0..rounds {
                granted += usize::from(race(&holder, &waiter, &key).await);
            }
            granted
        });
    }
    let granted: usize = racing.join_all().await.iter().sum();
    let all = tasks * rounds;
    assert!(granted > all / 50 && granted < all - all / 50, "{granted} of {all} were granted");
    until_nothing_is_left(&server).await;
}
