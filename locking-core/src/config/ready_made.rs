use std::fmt;
use std::sync::Arc;

use crate::provider::LockingProvider;

/// A provider that the application made, next to the entries of its configuration.
#[derive(Clone)]
pub(crate) struct ReadyMade {
    pub(crate) provider: Arc<dyn LockingProvider>,
    pub(crate) is_default: bool,
}

/// Its id alone: what else the provider's own `Debug` shows may be a secret.
impl fmt::Debug for ReadyMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyMade")
            .field("id", self.provider.id())
            .field("is_default", &self.is_default)
            .finish_non_exhaustive()
    }
}
