//! Faults of a store that looks first and acts then: what it saw may be over by then.

use std::time::Duration;

use locking_core::{AcquireRequest, Expiry, KeySet, Lease, LeasedKey, LockKey, OwnerId, Result};
use tokio::time::{Instant, sleep};

use super::Model;
use crate::fault::Fault;

/// The way to a server and back.
async fn a_round_trip() {
    sleep(Duration::from_millis(2)).await;
}

/// `None`: what was seen leaves nothing to do, and is answered as by the sound provider.
impl Model {
    pub(super) async fn looks_and_releases(
        &self,
        keys: &KeySet,
        owner: Option<&OwnerId>,
    ) -> Option<bool> {
        let looks = self.has(Fault::LooksBeforeItReleases);
        if !looks || !self.table().are_leased_by(keys, owner) {
            return None;
        }
        a_round_trip().await;
        self.table().free(keys);
        Some(true)
    }

    pub(super) async fn looks_and_gives_back(&self, lease: &Lease) -> Option<Result<()>> {
        let looks = self.has(Fault::LooksBeforeItGivesBack);
        if !looks || !self.table().is_held(lease) {
            return None;
        }
        a_round_trip().await;
        let taken: Vec<LockKey> = lease.taken().map(|leased| leased.key.clone()).collect();
        self.table().free(&taken);
        Some(Ok(()))
    }

    pub(super) async fn looks_and_extends(
        &self,
        lease: &Lease,
        expiry: Expiry,
    ) -> Option<Result<()>> {
        let looks = self.has(Fault::LooksBeforeItExtends);
        if !looks || !self.table().is_held(lease) {
            return None;
        }
        a_round_trip().await;
        let wanted = Instant::now() + expiry.get();
        self.table().set_expiry(&lease.key_set(), |_| Some(wanted));
        Some(Ok(()))
    }

    pub(super) async fn looks_and_reenters(
        &self,
        request: &AcquireRequest,
    ) -> Option<Vec<LeasedKey>> {
        if !self.has(Fault::LooksBeforeItReenters) {
            return None;
        }
        let reentered = self.table().reentered(request, self.client);
        if reentered.len() < request.keys.len() {
            return None;
        }
        a_round_trip().await;
        let wanted = request.expiry.map(|expiry| Instant::now() + expiry.get());
        let longer = |before: Instant| wanted.map_or(before, |wanted| before.max(wanted));
        self.table().set_expiry(&request.keys, |before| before.map(longer));
        Some(reentered)
    }
}
