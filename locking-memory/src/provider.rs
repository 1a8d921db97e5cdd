use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use locking_core::{
    AcquireRequest, Begun, Capabilities, Error, Expiry, Grant, KeySet, Lease, LockInfo, LockKey,
    LockingProvider, LossReason, OwnerId, ProviderId, ReleaseScope, Result, WaitUntil, async_trait,
};

use crate::claim::Claim;
use crate::client::Client;
use crate::config::MemoryOptions;
use crate::store::{Store, Taking, Untaken};
use crate::wait::Waiting;
use crate::{CAPABILITIES, IDENTIFIER};

/// Locks within this process.
///
/// Each value is a client of a table of its own; [`another_client`](Self::another_client) makes one
/// more client of the same table.
///
/// What waits for a key is served in the order in which it came. A request for several keys waits for
/// one of those that it can't have, and keeps no free key from others; only after it was passed over
/// 16 times are its free keys kept for it, for 25 ms, and twice as long each further time, up to 0.8 s.
pub struct MemoryProvider {
    id: ProviderId,
    wait_locking_timeout: Duration,
    store: Arc<Store>,
    client: Arc<Client>,
}

impl MemoryProvider {
    /// A table of its own, under the id `locking-memory`.
    ///
    /// # Panics
    ///
    /// Never: that is a valid id.
    #[must_use]
    pub fn new() -> Self {
        let id = ProviderId::new(IDENTIFIER).expect("the identifier is a valid id");
        Self::configured(id, &MemoryOptions::default())
    }

    /// A table of its own, under this id and with these options.
    #[must_use]
    pub fn configured(id: ProviderId, options: &MemoryOptions) -> Self {
        Self {
            id,
            wait_locking_timeout: options.wait_locking_timeout,
            store: Arc::new(Store::new()),
            client: Arc::new(Client::new()),
        }
    }

    /// One more, independent client of the same table: closing one doesn't close the other.
    #[must_use]
    pub fn another_client(&self) -> Self {
        Self {
            id: self.id.clone(),
            wait_locking_timeout: self.wait_locking_timeout,
            store: Arc::clone(&self.store),
            client: Arc::new(Client::new()),
        }
    }

    /// How many keys the table knows: held, waited for, or expired and not swept yet.
    #[must_use]
    pub fn table_len(&self) -> usize {
        self.store.len()
    }

    #[cfg(test)]
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    fn open(&self) -> Result<&Arc<Store>> {
        if self.client.is_closed() { Err(Error::closed(&self.id)) } else { Ok(&self.store) }
    }

    /// Serves a request at once, or queues it.
    fn begin(&self, request: AcquireRequest, waker: &Waker) -> Asked<'_> {
        let claim = Claim::new(request);
        if claim.wait() == WaitUntil::Now {
            return Asked::Answered(match self.store.try_take(&claim, &self.client) {
                Ok(granted) => Ok(granted.to_grant(&claim, &self.id)),
                Err(Untaken::Held(key)) => Err(Error::held(&self.id, key.clone())),
                Err(Untaken::Closed) => Err(self.closed(claim.keys())),
            });
        }
        match self.store.take_or_queue(claim, &self.client, waker) {
            Taking::Granted(granted, claim) => {
                Asked::Answered(Ok(granted.to_grant(&claim, &self.id)))
            }
            Taking::Queued { seat, deadline, wakes_in_time } => {
                let waiting = Waiting::new(&self.store, &self.id, seat, deadline);
                Asked::Queued { waiting, wakes_in_time }
            }
            Taking::Closed(claim) => Asked::Answered(Err(self.closed(claim.keys()))),
        }
    }

    fn closed(&self, keys: &KeySet) -> Error {
        Error::closed(&self.id).about(keys)
    }

    fn lost(&self, key: LockKey) -> Error {
        Error::lost(&self.id, key, LossReason::Expired)
    }
}

/// What came of a request at first.
enum Asked<'a> {
    Answered(Result<Grant>),
    Queued { waiting: Waiting<'a>, wakes_in_time: bool },
}

#[async_trait]
impl LockingProvider for MemoryProvider {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn acquire(&self, request: AcquireRequest) -> Result<Grant> {
        let mut request = Some(request);
        let mut waits = None;
        poll_fn(|context| {
            let waiting = match request.take() {
                None => waits.as_mut(),
                Some(request) => match self.begin(request, context.waker()) {
                    Asked::Answered(answer) => return Poll::Ready(answer),
                    Asked::Queued { waiting, wakes_in_time } => {
                        let waiting = waits.insert(waiting);
                        (!wakes_in_time).then_some(waiting)
                    }
                },
            };
            waiting.map_or(Poll::Pending, |waiting| Pin::new(waiting).poll(context))
        })
        .await
    }

    fn begin_acquire(
        &self,
        request: AcquireRequest,
        context: &mut Context<'_>,
    ) -> Begun<'_, Grant> {
        match self.begin(request, context.waker()) {
            Asked::Answered(answer) => Begun::Answered(answer),
            Asked::Queued { waiting, wakes_in_time: true } => Begun::Waiting(Box::pin(waiting)),
            Asked::Queued { waiting, .. } => Begun::Asked(Box::pin(waiting)),
        }
    }

    async fn extend(&self, lease: &Lease, expiry: Expiry) -> Result<()> {
        self.open()?.extend(lease, expiry).map_err(|key| self.lost(key))
    }

    async fn release(&self, keys: KeySet, owner: Option<OwnerId>) -> Result<bool> {
        self.begin_release(&keys, owner.as_ref()).answer().await
    }

    fn begin_release(&self, keys: &KeySet, owner: Option<&OwnerId>) -> Begun<'_, bool> {
        Begun::Answered(match self.open() {
            Ok(store) => Ok(store.release(keys, owner)),
            Err(closed) => Err(closed.about(keys)),
        })
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        self.store.release_lease(lease).map_err(|key| self.lost(key))
    }

    async fn release_all(&self, scope: ReleaseScope) -> Result<u64> {
        Ok(self.open()?.release_all(&scope))
    }

    fn wait_locking_timeout(&self) -> Duration {
        self.wait_locking_timeout
    }

    fn release_now(&self, lease: &Lease) -> Option<Result<()>> {
        Some(self.store.release_lease(lease).map_err(|key| self.lost(key)))
    }

    fn ends_waits(&self) -> bool {
        true
    }

    fn end_waits(&self) {
        self.store.refuse(&self.client);
    }

    async fn inspect(&self, key: &LockKey) -> Result<Option<LockInfo>> {
        Ok(self.open()?.inspect(key))
    }

    async fn list(&self) -> Result<Vec<LockInfo>> {
        Ok(self.open()?.list())
    }

    async fn close(&self) -> Result<()> {
        self.client.close();
        self.store.refuse(&self.client);
        Ok(())
    }
}

impl Default for MemoryProvider {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryProvider").field("id", &self.id).finish_non_exhaustive()
    }
}
