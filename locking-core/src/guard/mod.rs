//! Leases that this process keeps alive.

mod context;
mod keeper;
mod lock_guard;
mod renewal;
mod state;

pub use self::context::LockContext;
pub(crate) use self::keeper::Keepers;
pub use self::lock_guard::LockGuard;
pub(crate) use self::state::{GuardState, LEAST_LEASE};
