//! One owner gives back its few keys among many of others.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::keys;
use crate::memory::floors::ShardedMap;
use crate::memory::module;
use crate::rounds::median;

pub(crate) const HELD: usize = 100_000;
pub(crate) const OWN: usize = 100;
/// What it should take at most.
pub(crate) const TARGET: Duration = Duration::from_millis(1);
const REPEATS: usize = 25;

/// Medians, in milliseconds.
pub(crate) struct ReleaseAll {
    pub(crate) module: f64,
    /// A look at every entry of a sharded map.
    pub(crate) scan: f64,
}

pub(crate) fn measure(runtime: &Runtime) -> ReleaseAll {
    let (module, map, keys) = (module(), ShardedMap::new(0), keys(HELD));
    let (own, others) = keys.split_at(OWN);
    let work = async {
        for (number, key) in others.iter().enumerate() {
            let owner = format!("user_{:03}", number % 1000);
            module.acquire(key).owner(&owner).await.expect("nobody else wants it");
            map.insert(key, 0);
        }
        let (mut releases, mut scans) = (Vec::new(), Vec::new());
        for _ in 0..REPEATS {
            for key in own {
                module.acquire(key).owner("user_123456").await.expect("nobody else wants it");
                map.insert(key, 1);
            }
            let started = Instant::now();
            let freed = module.release_all().owner("user_123456").await;
            releases.push(milliseconds(started));
            assert_eq!(freed.expect("the provider is open"), OWN as u64);

            let started = Instant::now();
            map.remove_all(1);
            scans.push(milliseconds(started));
        }
        ReleaseAll { module: median(releases), scan: median(scans) }
    };
    runtime.block_on(work)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
