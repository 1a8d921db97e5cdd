use std::fmt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::command::{self, Result, shown};

/// The steps of a task, and how long each of them took.
#[derive(Debug, Default)]
pub(crate) struct Steps(Vec<Step>);

#[derive(Debug)]
struct Step {
    name: String,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Passed(Duration),
    Failed(Duration),
    Skipped(&'static str),
}

impl Steps {
    /// Runs a command as a step. An error names the step, and ends the task.
    pub(crate) fn run(&mut self, name: &str, command: &mut Command) -> Result {
        eprintln!("\n=== {name}: {}", shown(command));
        self.take(name, || command::run(command))
    }

    /// Runs a check of these tasks' own as a step.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> Result) -> Result {
        eprintln!("\n=== {name}");
        self.take(name, check)
    }

    fn take(&mut self, name: &str, work: impl FnOnce() -> Result) -> Result {
        let started = Instant::now();
        let done = work();
        let took = started.elapsed();
        let outcome = if done.is_ok() { Outcome::Passed(took) } else { Outcome::Failed(took) };
        self.0.push(Step { name: name.to_owned(), outcome });
        done.map_err(|failure| format!("step `{name}` failed: {failure}"))
    }

    /// Leaves a step out, for everyone to see.
    pub(crate) fn skip(&mut self, name: &str, reason: &'static str) {
        eprintln!("\n=== {name}: skipped, {reason}");
        self.0.push(Step { name: name.to_owned(), outcome: Outcome::Skipped(reason) });
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|step| step.name.len()).max().unwrap_or(0).max(5);
        let mut total = Duration::ZERO;
        writeln!(f, "\n{:<width$}  seconds", "step")?;
        for Step { name, outcome } in &self.0 {
            match outcome {
                Outcome::Passed(took) | Outcome::Failed(took) => {
                    total += *took;
                    let failed = matches!(outcome, Outcome::Failed(_));
                    let failed = if failed { "  FAILED" } else { "" };
                    writeln!(f, "{name:<width$}  {:>7.1}{failed}", took.as_secs_f64())?;
                }
                Outcome::Skipped(reason) => writeln!(f, "{name:<width$}  skipped: {reason}")?,
            }
        }
        writeln!(f, "{:<width$}  {:>7.1}", "total", total.as_secs_f64())
    }
}
