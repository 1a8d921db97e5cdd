//! Sets of keys that overlap, asked for and given back in any order.

use std::time::Duration;

use locking_core::{Error, LockingModule, Result};
use locking_testkit::servers::PostgresSetup;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{LONG, deadlocks, module, ms, scaled, until_nothing_is_left};

const KEYS: usize = 8;

/// Takes some keys, and gives them back in one of the ways that there are.
async fn work(module: &LockingModule, owner: &str) -> Result<()> {
    let mut keys: Vec<String> = (0..KEYS).map(|n| format!("k{n}")).collect();
    fastrand::shuffle(&mut keys);
    keys.truncate(fastrand::usize(1..=4));
    let wait = if fastrand::bool() { ms(fastrand::u64(..20)) } else { LONG };
    match fastrand::u8(..6) {
        0 | 1 => {
            let guard = module.lock(&keys).timeout(wait).await?;
            tokio::task::yield_now().await;
            guard.release().await
        }
        2 => {
            let lease = module.acquire(&keys).wait(wait).expire(LONG).await?;
            module.release_lease(&lease).await.map(drop)
        }
        3 => {
            module.acquire(&keys).owner(owner).wait(wait).await?;
            fastrand::shuffle(&mut keys);
            module.release(&keys).owner(owner).await.map(drop)
        }
        4 => {
            module.acquire(&keys).owner(owner).wait(wait).await?;
            module.release_all().owner(owner).await.map(drop)
        }
        _ => {
            let lease = module.acquire(&keys).owner(owner).wait(wait).await?;
            // Where somebody else with its name has given back one key of it, the others have no end yet.
            let extended = module.extend(&lease, ms(50)).await;
            if fastrand::u8(..8) == 0 {
                module.release_all().including_running().await?;
            } else {
                module.release_lease(&lease).await?;
            }
            extended
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_sets_of_keys_in_random_order_never_deadlock() {
    let setup = PostgresSetup::new().setting("deadlock_timeout", "20ms");
    let server = setup.start().await.expect("a server");
    let clients = [module(&server).await, module(&server).await];
    let until = Instant::now() + scaled(Duration::from_secs(300), Duration::from_secs(4));
    let mut tasks = JoinSet::new();
    for n in 0..32 {
        let (module, owner) = (clients[n % 2].clone(), format!("owner{}", n % 12));
        tasks.spawn(async move {
            let mut done = 0;
            while Instant::now() < until {
                match work(&module, &owner).await {
                    Ok(()) => done += 1,
                    // Somebody has freed everything, or somebody else with its name has.
                    Err(Error::TimedOut { .. } | Error::Lost { .. } | Error::Held { .. }) => {}
                    // A slow machine is still taking it back.
                    Err(Error::UnknownOutcome { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            done
        });
    }
    let done: Vec<usize> = tasks.join_all().await;
    assert!(done.iter().all(|done| *done > 0), "everybody gets on: {done:?}");
    assert_eq!(deadlocks(&server).await, 0);
    clients[0].release_all().await.expect("answered");
    until_nothing_is_left(&server).await;
}
