//! The memory provider.

mod contended;
mod floors;
mod release_all;
mod report;
mod uncontended;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use locking_core::LockingModule;
use locking_memory::MemoryProvider;

use self::report::Report;
use crate::{Measured, Result, rounds};

/// How long whoever waits for a key does so: far more than any turn takes to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// For how long the rates are measured where nobody says.
const SECONDS: u64 = 45;

#[derive(Debug, Args)]
pub(crate) struct Memory {
    #[command(flatten)]
    measured: Measured,
    /// What `footprint` printed, to appear in the same report.
    #[arg(long)]
    footprint: Option<String>,
}

impl Memory {
    pub(crate) fn run(&self) -> Result {
        let footprint = self.footprint.as_deref().map(serde_json::from_str).transpose()?;
        let runtime = crate::runtime()?;
        let release_all = release_all::measure(&runtime);
        let mut groups = vec![uncontended::group(1), uncontended::group(64), contended::group(50)];
        rounds::run(runtime.handle(), &mut groups, self.measured.length_or(SECONDS));
        let report = Report { groups, release_all, footprint };
        self.measured.print(&report, Report::to_json);
        Ok(())
    }
}

/// A module over a table of its own, as a program has it.
fn module() -> LockingModule {
    LockingModule::with_provider(Arc::new(MemoryProvider::new()))
}
