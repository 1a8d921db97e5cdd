//! Locks in the steps of a workflow: one step takes keys, a later one gives them back, and where a
//! step fails in between, compensation gives back exactly what was taken.
//!
//! - [`WorkflowRun`] says which run of a workflow this is, and what it holds already.
//! - [`AcquireLockStep`] takes the keys for the run, and answers a [`StepLease`].
//! - [`StepLease`] goes from step to step, as plain data in the engine's log; its
//!   [`compensate`](StepLease::compensate) is the compensation.
//! - [`ReleaseLockStep`] gives the keys back.
//!
//! Any engine can run them that keeps what a step answered before it begins the next one.
//!
//! ```
//! # use locking_core::*;
//! use std::time::Duration;
//! use locking_core::workflow::{AcquireLockStep, ReleaseLockStep, WorkflowRun};
//!
//! # async fn example(module: LockingModule) -> Result<()> {
//! let run = WorkflowRun::new("order_7-1")?;
//!
//! let acquire = AcquireLockStep::new("order_7", Duration::from_secs(60))?
//!     .with_timeout(Duration::from_secs(2));
//! let lease = acquire.invoke(&module, &run).await?;
//!
//! // The steps that need the lock; if one of them fails: lease.compensate(&module).await?
//!
//! ReleaseLockStep::new(lease).invoke(&module, &run).await?;
//! # Ok(()) }
//! ```
//!
//! The owner of the keys is derived from the run's id: a step that is replayed after a crash, and a
//! nested workflow, enter them again instead of waiting for themselves.

mod acquire;
mod lease;
mod release;
mod run;
mod run_id;
mod written;

pub use self::acquire::AcquireLockStep;
pub use self::lease::StepLease;
pub use self::release::ReleaseLockStep;
pub use self::run::WorkflowRun;
