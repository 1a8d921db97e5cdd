//! A provider for clients in processes of their own, as simple as the other one, and its faults.
//!
//! A fault is tried by this program, started again as a suite that has a provider with that fault: only
//! such programs can start clients as processes.

mod fault;
mod provider;
mod store;

use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use libtest_mimic::{Completion, Failed};
use locking_core::{Capabilities, Capability, LockingProvider, async_trait};
use locking_testkit::{Case, Facility, Harness};
use serde::Deserialize;

pub(crate) use self::fault::{Fault, MUTANTS};
use self::provider::Client;
use self::store::Server;

const CLAIMS: Capabilities = Capabilities::none()
    .with(Capability::Fencing)
    .with(Capability::Fair)
    .with(Capability::SharedBetweenProcesses);

/// Says that this process is such a suite, or a client of one, and which fault its provider has.
const FAULT: &str = "LOCKING_MUTANT";
/// Where a client finds the store.
const STORE: &str = "LOCKING_MUTANT_STORE";

/// Whether a case is about processes, and about nothing that this provider hasn't got.
pub(crate) fn is_for(case: &Case) -> bool {
    let is_there = |facility| matches!(facility, &Facility::Processes | &Facility::WrongClocks);
    case.uses.contains(&Facility::Processes)
        && case.uses.iter().all(is_there)
        && case.lacks(CLAIMS).is_none()
}

/// Is the suite, in a process that was started as one.
pub(crate) fn suite() -> Option<ExitCode> {
    let name = std::env::var(FAULT).ok()?;
    let fault = Fault::named(&name);
    Some(locking_testkit::main(CLAIMS, move || async move { StoreHarness::new(fault) }))
}

/// Runs a case in such a process.
pub(crate) fn outcome(fault: Fault, case: &'static Case) -> Outcome {
    let program = std::env::current_exe().expect("a program knows its file");
    let mut suite = Command::new(program);
    suite.args(["--report", "json", case.name]).env(FAULT, format!("{fault:?}"));
    let ended = suite.stderr(Stdio::null()).output().expect("the program starts again");
    let told = String::from_utf8_lossy(&ended.stdout);
    let report: Report = serde_json::from_str(&told)
        .unwrap_or_else(|error| panic!("{}: {error}: {told}", case.name));
    let mut cases = report.cases.into_iter();
    cases.find(|told| told.name == case.name).expect("the case ran").outcome
}

#[derive(Deserialize)]
struct Report {
    cases: Vec<CaseReport>,
}

#[derive(Deserialize)]
struct CaseReport {
    name: String,
    #[serde(flatten)]
    outcome: Outcome,
}

/// What came of a case.
#[derive(Deserialize)]
#[serde(tag = "outcome", content = "message", rename_all = "lowercase")]
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    Ignored(String),
}

impl Outcome {
    /// As a test of the provider that has no fault.
    pub(crate) fn of_the_sound_one(self) -> Result<Completion, Failed> {
        match self {
            Self::Passed => Ok(Completion::Completed),
            Self::Failed(message) => Err(message.into()),
            Self::Ignored(reason) => Ok(Completion::ignored_with(reason)),
        }
    }
}

/// One store for all spaces: keys of different spaces differ by themselves.
struct StoreHarness {
    fault: Fault,
    address: String,
}

impl StoreHarness {
    fn new(fault: Fault) -> Self {
        let address = std::env::var(STORE).unwrap_or_else(|_| Server::start(fault).to_string());
        Self { fault, address }
    }
}

#[async_trait]
impl Harness for StoreHarness {
    async fn connect(&self, _space: &str) -> Arc<dyn LockingProvider> {
        Arc::new(Client::connect(&self.address))
    }

    fn child_environment(&self) -> Vec<(String, String)> {
        vec![
            (FAULT.to_owned(), format!("{:?}", self.fault)),
            (STORE.to_owned(), self.address.clone()),
        ]
    }
}
