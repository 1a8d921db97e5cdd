use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Context;
use std::time::Duration;

use locking_core::{
    AcquireRequest, Begun, Capabilities, Error, Expiry, Grant, KeySet, Lease, LockInfo, LockKey,
    LockingProvider, OwnerId, ProviderId, ReleaseScope, Result, async_trait,
};

/// A provider whose next renewals fail before they reach it, and which counts all of them.
#[derive(Debug)]
pub(crate) struct Intercept {
    inner: Arc<dyn LockingProvider>,
    failing_extends: AtomicUsize,
    extends: AtomicUsize,
}

impl Intercept {
    pub(crate) fn new(inner: Arc<dyn LockingProvider>) -> Arc<Self> {
        Arc::new(Self { inner, failing_extends: AtomicUsize::new(0), extends: AtomicUsize::new(0) })
    }

    pub(crate) fn fail_extends(&self, next: usize) {
        self.failing_extends.store(next, Ordering::SeqCst);
    }

    pub(crate) fn extends(&self) -> usize {
        self.extends.load(Ordering::SeqCst)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl LockingProvider for Intercept {
    fn id(&self) -> &ProviderId {
        self.inner.id()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn acquire(&self, request: AcquireRequest) -> Result<Grant> {
        self.inner.acquire(request).await
    }

    fn begin_acquire(
        &self,
        request: AcquireRequest,
        context: &mut Context<'_>,
    ) -> Begun<'_, Grant> {
        self.inner.begin_acquire(request, context)
    }

    async fn extend(&self, lease: &Lease, expiry: Expiry) -> Result<()> {
        self.extends.fetch_add(1, Ordering::SeqCst);
        let less_one = |left: usize| left.checked_sub(1);
        let left = self.failing_extends.try_update(Ordering::SeqCst, Ordering::SeqCst, less_one);
        if left.is_ok() {
            return Err(Error::unavailable(self.id(), "cut off by the test"));
        }
        self.inner.extend(lease, expiry).await
    }

    async fn release(&self, keys: KeySet, owner: Option<OwnerId>) -> Result<bool> {
        self.inner.release(keys, owner).await
    }

    fn begin_release(&self, keys: &KeySet, owner: Option<&OwnerId>) -> Begun<'_, bool> {
        self.inner.begin_release(keys, owner)
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        self.inner.release_lease(lease).await
    }

    async fn release_all(&self, scope: ReleaseScope) -> Result<u64> {
        self.inner.release_all(scope).await
    }

    fn wait_locking_timeout(&self) -> Duration {
        self.inner.wait_locking_timeout()
    }

    fn release_now(&self, lease: &Lease) -> Option<Result<()>> {
        self.inner.release_now(lease)
    }

    fn ends_waits(&self) -> bool {
        self.inner.ends_waits()
    }

    fn end_waits(&self) {
        self.inner.end_waits();
    }

    async fn inspect(&self, key: &LockKey) -> Result<Option<LockInfo>> {
        self.inner.inspect(key).await
    }

    async fn list(&self) -> Result<Vec<LockInfo>> {
        self.inner.list().await
    }

    async fn migrate(&self) -> Result<()> {
        self.inner.migrate().await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
