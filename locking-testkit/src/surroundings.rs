use std::sync::Arc;

use locking_core::Capabilities;

use crate::fixture::Scale;
use crate::harness::Harness;

/// What all cases of a run have in common.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) harness: Arc<dyn Harness>,
    pub(crate) claims: Capabilities,
    pub(crate) scale: Scale,
    /// Whether this program, started again, is a client.
    pub(crate) processes: bool,
}
