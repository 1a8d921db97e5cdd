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
//! the provider doesn't claim, or something that the harness doesn't have, is shown as ignored, with
//! the reason. Behind `--`, it takes the arguments of a Rust test, and:
//!
//! - `--full`: heavy cases at full scale (else a hundredth),
//! - `--every-claim`: a claim of which no case ran is a failure, unless only some cases were asked for,
//! - `--report table` or `--report json`: one report at the end instead of test results.
//!
//! A case that fails while the machine stood still for 50 ms or longer is run again, up to twice, and the
//! results say so ([`Disturbance`]); what no standstill excuses, such as a token that does not grow, fails at once.
//!
//! Programs call [`run`] and receive a [`Report`].
//!
//! Cases about processes start the program that called [`main`] again as a client. A harness whose
//! store is found by an address hands it on: [`Harness::child_environment`]. Some of these clients have
//! wrong wall clocks, on Linux where `libfaketime` is installed. Cases that disturb a
//! server ask for one of their own: [`Harness::own_server`]; [`faults`] has a network that fails for them.

mod case;
mod cases;
mod cli;
mod facility;
pub mod faults;
mod fixture;
mod harness;
pub mod history;
mod intercept;
mod overheard;
mod own_server;
mod panics;
mod process;
mod report;
mod runner;
#[cfg(feature = "servers")]
pub mod servers;
mod signal;
mod standstill;
mod support;
mod surroundings;

pub use crate::case::{CASES, Case};
pub use crate::cli::{main, main_in_turn};
pub use crate::facility::Facility;
pub use crate::fixture::{Fixture, Scale};
pub use crate::harness::Harness;
pub use crate::own_server::{OwnServer, Stop};
pub use crate::process::{Process, Refusal, WallClock};
pub use crate::report::{CaseReport, Disturbance, Outcome, Report};
pub use crate::runner::{run, run_case};
