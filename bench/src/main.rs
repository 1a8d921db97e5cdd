//! Measures the lock module over the memory provider, each call next to the floor of the same work.
//!
//! It answers with figures and never fails over them: a machine with other things to do is slow, and
//! that is no mistake in the code.

mod contended;
mod floors;
mod measure;
mod release_all;
mod report;
mod rounds;
mod uncontended;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use locking_core::LockingModule;
use locking_memory::MemoryProvider;

use crate::report::Report;

/// As many as the smallest machine has that the figures are compared on.
const WORKERS: usize = 2;

#[derive(Debug, Parser)]
struct Arguments {
    /// For how many seconds the rates are measured.
    #[arg(long, default_value_t = 45)]
    seconds: u64,
    /// What `footprint` printed, to appear in the same report.
    #[arg(long)]
    footprint: Option<String>,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let footprint = arguments.footprint.as_deref().map(serde_json::from_str).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_time()
        .build()?;

    let release_all = release_all::measure(&runtime);
    let mut groups = vec![uncontended::group(1), uncontended::group(64), contended::group(50)];
    rounds::run(&runtime, &mut groups, Duration::from_secs(arguments.seconds));

    let report = Report { groups, release_all, footprint };
    if arguments.json {
        println!("{:#}", report.to_json());
    } else {
        print!("{report}");
    }
    Ok(())
}

/// A module over a table of its own, as a program has it.
fn module() -> LockingModule {
    LockingModule::with_provider(Arc::new(MemoryProvider::new()))
}

/// Sixteen bytes each, as product numbers are.
fn keys(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("prod_{number:011}")).collect()
}
