//! The contract suite of `locking`, for every provider: ours and yours.
//!
//! A provider's crate runs it with one short file, `tests/contract.rs`, and in its manifest
//! `[[test]] name = "contract"` with `harness = false`:
//!
//! ```no_run
//! # mod my_provider {
//! #     pub use locking_core::*;
//! #     #[derive(Debug, Clone)] pub struct MyProvider;
//! #     impl MyProvider { pub const CLAIMS: Capabilities = Capabilities::none();
//! #         pub async fn connect(_: &str) -> Self { Self } }
//! #     #[async_trait] impl LockingProvider for MyProvider {
//! #         fn id(&self) -> &ProviderId { unimplemented!() }
//! #         fn capabilities(&self) -> Capabilities { Self::CLAIMS }
//! #         async fn acquire(&self, _: AcquireRequest) -> Result<Grant> { unimplemented!() }
//! #         async fn extend(&self, _: &Lease, _: Expiry) -> Result<()> { unimplemented!() }
//! #         async fn release(&self, _: KeySet, _: Option<OwnerId>) -> Result<bool> { unimplemented!() }
//! #         async fn release_lease(&self, _: &Lease) -> Result<()> { unimplemented!() }
//! #         async fn release_all(&self, _: ReleaseScope) -> Result<u64> { unimplemented!() }
//! #         async fn close(&self) -> Result<()> { Ok(()) }
//! #     }
//! # }
//! # use my_provider::MyProvider;
//! use std::process::ExitCode;
//! use std::sync::Arc;
//!
//! use locking_core::{LockingProvider, async_trait};
//! use locking_testkit::Harness;
//!
//! struct Mine;
//!
//! #[async_trait]
//! impl Harness for Mine {
//!     async fn connect(&self, space: &str) -> Arc<dyn LockingProvider> {
//!         Arc::new(MyProvider::connect(space).await)
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     locking_testkit::main(MyProvider::CLAIMS, || async { Mine })
//! }
//! ```
//!
//! `cargo test --test contract` then shows one result per case. A case that needs a capability which
//! the provider doesn't claim is shown as ignored, with the reason. Behind `--`, it takes the
//! arguments of a Rust test, and:
//!
//! - `--full`: heavy cases at full scale (else a hundredth),
//! - `--report table` or `--report json`: one report at the end instead of test results.
//!
//! Programs call [`run`] and receive a [`Report`].

mod case;
mod cases;
mod cli;
mod fixture;
mod harness;
pub mod history;
mod intercept;
mod report;
mod runner;
mod support;

pub use crate::case::{CASES, Case};
pub use crate::cli::main;
pub use crate::fixture::{Fixture, Scale};
pub use crate::harness::Harness;
pub use crate::report::{CaseReport, Outcome, Report};
pub use crate::runner::{run, run_case};
