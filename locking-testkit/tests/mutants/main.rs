//! The suite, tested by providers with one fault each.
//!
//! Every fault must fail every case that is named for it, every case must be named for one, and the
//! provider without a fault must pass them all. `cargo test -p locking-testkit --test mutants`
//! prints a line per fault.

mod fault;
mod model;
mod table;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use locking_testkit::{CASES, Case, Facility, Harness, Outcome, Scale, run_case};

use crate::fault::{Fault, MUTANTS};
use crate::model::{CLAIMS, ModelHarness};

fn main() -> ExitCode {
    // Cases are meant to panic here, by the hundred.
    std::panic::set_hook(Box::new(|_| {}));
    let mut arguments = Arguments::from_args();
    // Most of the time they wait for what doesn't come.
    arguments.test_threads.get_or_insert(8);
    let sound = CASES.iter().map(|case| {
        Trial::ignorable_test(format!("sound::{}", case.name), || passes(Fault::None, case))
    });
    let mutants = MUTANTS.iter().map(|(fault, cases)| {
        Trial::test(format!("mutant::{fault:?}"), || is_caught(*fault, cases))
    });
    let named = Trial::test("every_case_catches_a_mutant", every_case_is_named);
    let trials = sound.chain(mutants).chain([named]).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn passes(fault: Fault, case: &'static Case) -> Result<Completion, Failed> {
    match outcome(fault, case) {
        Outcome::Failed(message) => Err(message.into()),
        Outcome::Ignored(reason) => Ok(Completion::ignored_with(reason)),
        _ => Ok(Completion::Completed),
    }
}

fn is_caught(fault: Fault, cases: &[&str]) -> Result<(), Failed> {
    let mut missed = Vec::new();
    for name in cases {
        let case = CASES.iter().find(|case| case.name == *name);
        let case = case.ok_or_else(|| Failed::from(format!("no case `{name}`")))?;
        if !matches!(outcome(fault, case), Outcome::Failed(_)) {
            missed.push(*name);
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("not caught by {missed:?}").into()) }
}

fn every_case_is_named() -> Result<(), Failed> {
    let named: BTreeSet<&str> =
        MUTANTS.iter().flat_map(|(_, cases)| cases.iter().copied()).collect();
    // Those that need what the model hasn't got, a server or processes, are not run here.
    let is_run = |case: &&Case| {
        let has = |facility| matches!(facility, &Facility::Entries | &Facility::WaiterCounts);
        case.lacks(CLAIMS).is_none() && case.uses.iter().all(has)
    };
    let run = CASES.iter().filter(is_run);
    let missing: Vec<&str> =
        run.map(|case| case.name).filter(|name| !named.contains(name)).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("they catch nothing: {missing:#?}").into())
    }
}

fn outcome(fault: Fault, case: &'static Case) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let harness: Arc<dyn Harness> = Arc::new(ModelHarness::new(fault));
    runtime.block_on(run_case(case, harness, CLAIMS, Scale::Hundredth)).outcome
}
