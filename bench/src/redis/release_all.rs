//! One owner gives back its few keys among many of others.

use std::time::Instant;

use locking_core::LockingModule;

use super::bare::EXPIRY;
use super::server::Server;
use crate::rounds::median;
use crate::{Result, keys};

pub(super) const HELD: usize = 100_000;
pub(super) const OWN: usize = 100;
/// What it should take the server at most, in milliseconds.
pub(super) const TARGET: f64 = 0.5;
const REPEATS: usize = 25;
const OWNER: &str = "user_123456";

/// Medians, in milliseconds.
pub(super) struct ReleaseAll {
    /// What the server was busy with it.
    pub(super) server: f64,
    /// What the caller waited.
    pub(super) wall: f64,
}

pub(super) async fn measure(server: &Server, module: &LockingModule) -> Result<ReleaseAll> {
    let keys = keys(HELD);
    let (own, others) = keys.split_at(OWN);
    for (number, keys) in others.chunks(OWN).enumerate() {
        let owner = format!("user_{number:03}");
        module.acquire(keys).owner(owner).expire(EXPIRY * 60).await?;
    }
    let (mut busy, mut walls) = (Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        for key in own {
            module.acquire(key).owner(OWNER).expire(EXPIRY).await?;
        }
        let before = server.scripts().await?.microseconds;
        let started = Instant::now();
        let freed = module.release_all().owner(OWNER).await?;
        walls.push(started.elapsed().as_secs_f64() * 1e3);
        busy.push((server.scripts().await?.microseconds - before) as f64 / 1e3);
        assert_eq!(freed, OWN as u64);
    }
    // The rates are measured on a server that holds nothing else.
    let freed = module.release_all().await?;
    assert_eq!(freed as usize, HELD - OWN);
    Ok(ReleaseAll { server: median(busy), wall: median(walls) })
}
