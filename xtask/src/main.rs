//! The repository's own tasks: `cargo xtask --help` lists them.

mod bench;
mod ci;
mod command;
mod conformance;
mod containers;
mod engine;
mod images;
mod leash;
mod links;
mod outsiders;
mod packages;
mod rule;
mod source;
mod steps;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::steps::Steps;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The repository's own tasks")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Sets up what the tests need, and runs all of them, doctests included
    Test,
    /// Everything that a change has to pass; `test` is a part of it
    Ci,
    /// Runs the contract suite against providers, and shows one report for each
    Conformance(conformance::Conformance),
    /// Follows the links in the guides, as far as they stay in the repository
    Links,
    /// Gets the images of servers under test: pulled, or made from Debian's packages
    Images,
    /// Measures a provider, each call next to the floor of the same work
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Test => in_steps(test::run),
        Task::Ci => in_steps(ci::run),
        Task::Conformance(conformance) => conformance.run(),
        Task::Links => links::run(),
        Task::Images => images::run(),
        Task::Bench(bench) => bench.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("cargo xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a task of several steps, and shows how long each took, also when one of them failed.
fn in_steps(task: fn(&mut Steps) -> command::Result) -> command::Result {
    let mut steps = Steps::default();
    let done = task(&mut steps);
    eprint!("{steps}");
    done
}
