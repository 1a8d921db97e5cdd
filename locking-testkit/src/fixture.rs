use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use locking_core::{Capabilities, LockingModule, LockingProvider};

use crate::harness::Harness;

/// What a case works with: two independent clients of the same store in a space of their own, and
/// fresh keys.
pub struct Fixture {
    /// The module over the first client.
    pub a: LockingModule,
    /// The module over the second client.
    pub b: LockingModule,
    harness: Arc<dyn Harness>,
    space: String,
    capabilities: Capabilities,
    scale: Scale,
}

/// How much a heavy case does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scale {
    /// A hundredth: for every test run.
    Hundredth,
    /// All of it: for a release.
    Full,
}

impl Fixture {
    pub(crate) async fn new(
        harness: Arc<dyn Harness>,
        capabilities: Capabilities,
        scale: Scale,
    ) -> Self {
        let space = fresh_space();
        let (a, b) = (harness.connect(&space).await, harness.connect(&space).await);
        Self {
            a: LockingModule::with_provider(a),
            b: LockingModule::with_provider(b),
            harness,
            space,
            capabilities,
            scale,
        }
    }

    /// One more independent client.
    pub async fn client(&self) -> Arc<dyn LockingProvider> {
        self.harness.connect(&self.space).await
    }

    /// The module over one more independent client.
    pub async fn module(&self) -> LockingModule {
        LockingModule::with_provider(self.client().await)
    }

    /// A key that no other case uses. Keys of one case sort as their names do.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.space)
    }

    /// How many entries the store keeps for this case, if the harness can tell.
    pub async fn entries(&self) -> Option<u64> {
        self.harness.entries(&self.space).await
    }

    /// What the provider claims.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// `full` at full scale, else a hundredth of it.
    #[must_use]
    pub fn scaled(&self, full: usize) -> usize {
        match self.scale {
            Scale::Full => full,
            Scale::Hundredth => full.div_ceil(100),
        }
    }
}

impl std::fmt::Debug for Fixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fixture").field("space", &self.space).finish_non_exhaustive()
    }
}

/// Unique on a store that many runs share.
fn fresh_space() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("t{:016x}_{count}", fastrand::u64(..))
}
