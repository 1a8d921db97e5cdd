//! The suite, tested by providers with one fault each.
//!
//! Every fault must fail every case that is named for it, every case must be named for one, and the
//! provider without a fault must pass them all. `cargo test -p locking-testkit --test mutants`
//! prints a line per fault.

mod between_processes;
mod fault;
mod model;
mod table;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use locking_testkit::{CASES, Case, Facility, Harness, Outcome, Scale, run_case};

use crate::fault::{Fault, MUTANTS};
use crate::model::{CLAIMS, ModelHarness, claims};

fn main() -> ExitCode {
    if let Some(code) = between_processes::suite() {
        return code;
    }
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
    let between = between_processes::MUTANTS.iter().map(|(fault, cases)| {
        let name = format!("mutant::between_processes::{fault:?}");
        Trial::ignorable_test(name, || is_caught_between_processes(*fault, cases))
    });
    let named = Trial::test("every_case_catches_a_mutant", every_case_is_named);
    let trials = sound.chain(mutants).chain(between).chain([named]).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn passes(fault: Fault, case: &'static Case) -> Result<Completion, Failed> {
    if between_processes::is_for(case) {
        return between_processes::outcome(between_processes::Fault::None, case).of_the_sound_one();
    }
    match outcome(fault, case) {
        Outcome::Failed(message) => Err(message.into()),
        Outcome::Ignored(reason) => Ok(Completion::ignored_with(reason)),
        _ => Ok(Completion::Completed),
    }
}

fn is_caught(fault: Fault, cases: &[&str]) -> Result<(), Failed> {
    let mut missed = Vec::new();
    for name in cases {
        if !matches!(outcome(fault, case_named(name)?), Outcome::Failed(_)) {
            missed.push(*name);
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("not caught by {missed:?}").into()) }
}

fn is_caught_between_processes(
    fault: between_processes::Fault,
    cases: &[&str],
) -> Result<Completion, Failed> {
    let (mut missed, mut ignored) = (Vec::new(), None);
    for name in cases {
        match between_processes::outcome(fault, case_named(name)?) {
            between_processes::Outcome::Passed => missed.push(*name),
            between_processes::Outcome::Failed(_) => {}
            between_processes::Outcome::Ignored(reason) => ignored = Some(reason),
        }
    }
    match ignored {
        _ if !missed.is_empty() => Err(format!("not caught by {missed:?}").into()),
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => Ok(Completion::Completed),
    }
}

fn case_named(name: &str) -> Result<&'static Case, Failed> {
    let case = CASES.iter().find(|case| case.name == name);
    case.ok_or_else(|| format!("no case `{name}`").into())
}

fn every_case_is_named() -> Result<(), Failed> {
    let between = between_processes::MUTANTS.iter().flat_map(|(_, cases)| *cases);
    let named: BTreeSet<&str> =
        MUTANTS.iter().flat_map(|(_, cases)| *cases).chain(between).copied().collect();
    // Those that need a server are not run here.
    let is_run = |case: &&Case| {
        let has = |facility| matches!(facility, &Facility::Entries | &Facility::WaiterCounts);
        let by_the_model = case.lacks(CLAIMS).is_none() && case.uses.iter().all(has);
        by_the_model || between_processes::is_for(case)
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
    runtime.block_on(run_case(case, harness, claims(fault), Scale::Hundredth)).outcome
}
