//! One owner gives back its few keys among many of others.

use std::time::{Duration, Instant};

use locking_core::LockingModule;

use crate::rounds::median;
use crate::{Result, keys};

pub(crate) const HELD: usize = 100_000;
pub(crate) const OWN: usize = 100;
const REPEATS: usize = 25;
const OWNER: &str = "user_123456";
const EXPIRY: Duration = Duration::from_secs(60);

/// Medians, in milliseconds.
pub(crate) struct ReleaseAll {
    /// What the server was busy with it.
    pub(crate) server: f64,
    /// What it should take the server at most.
    pub(crate) target: f64,
    /// What the caller waited.
    pub(crate) wall: f64,
}

/// `busy`: for how many milliseconds the server has been busy with calls of the provider's so far.
pub(crate) async fn measure(
    module: &LockingModule,
    target: f64,
    busy: impl AsyncFn() -> Result<f64>,
) -> Result<ReleaseAll> {
    let keys = keys(HELD);
    let (own, others) = keys.split_at(OWN);
    for (number, keys) in others.chunks(OWN).enumerate() {
        let owner = format!("user_{number:03}");
        module.acquire(keys).owner(owner).expire(EXPIRY * 60).await?;
    }
    let (mut times, mut walls) = (Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        for key in own {
            module.acquire(key).owner(OWNER).expire(EXPIRY).await?;
        }
        let before = busy().await?;
        let started = Instant::now();
        let freed = module.release_all().owner(OWNER).await?;
        walls.push(started.elapsed().as_secs_f64() * 1e3);
        times.push(busy().await? - before);
        assert_eq!(freed, OWN as u64);
    }
    // The rates are measured on a server that holds nothing else.
    let freed = module.release_all().await?;
    assert_eq!(freed as usize, HELD - OWN);
    Ok(ReleaseAll { server: median(times), target, wall: median(walls) })
}
