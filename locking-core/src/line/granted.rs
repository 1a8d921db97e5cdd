use std::sync::Arc;

use super::ask::Ask;
use crate::grant::Grant;

/// What a waiter in line is granted.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) grant: Grant,
    /// The ask by which a lease was got. A waiter that is gone takes that back, and not the lease: its
    /// owner may have entered it by other asks since. `None` for a guard, which is nobody else's.
    pub(super) ask: Option<Arc<Ask>>,
}

impl Granted {
    pub(super) const fn guard(grant: Grant) -> Self {
        Self { grant, ask: None }
    }

    pub(super) const fn lease(grant: Grant, ask: Arc<Ask>) -> Self {
        Self { grant, ask: Some(ask) }
    }
}
