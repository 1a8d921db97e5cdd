use std::fmt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::command::{self, Result, shown};

/// The steps of a task, and how long each of them took.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    steps: Vec<Step>,
    failed_tests: Vec<String>,
}

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

    /// Runs tests as a step. Those that fail are named at the end: before it, there is a lot to read.
    pub(crate) fn test(&mut self, name: &str, command: &mut Command) -> Result {
        eprintln!("\n=== {name}: {}", shown(command));
        let mut failed = Vec::new();
        let done = self
            .take(name, || command::run_watched(command, |line| failed.extend(failed_test(line))));
        self.failed_tests.extend(failed.iter().map(|test| format!("{test} ({name})")));
        done
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
        self.steps.push(Step { name: name.to_owned(), outcome });
        done.map_err(|failure| format!("step `{name}` failed: {failure}"))
    }

    /// Leaves a step out, for everyone to see.
    pub(crate) fn skip(&mut self, name: &str, reason: &'static str) {
        eprintln!("\n=== {name}: skipped, {reason}");
        self.steps.push(Step { name: name.to_owned(), outcome: Outcome::Skipped(reason) });
    }
}

/// The test that failed by a line of its program's output.
fn failed_test(line: &str) -> Option<String> {
    let test = line.strip_prefix("test ")?.strip_suffix("FAILED")?.trim_end();
    Some(test.strip_suffix("...")?.trim_end().to_owned())
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.steps.iter().map(|step| step.name.len()).max().unwrap_or(0).max(5);
        let mut total = Duration::ZERO;
        writeln!(f, "\n{:<width$}  seconds", "step")?;
        for Step { name, outcome } in &self.steps {
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
        writeln!(f, "{:<width$}  {:>7.1}", "total", total.as_secs_f64())?;
        for test in &self.failed_tests {
            writeln!(f, "failed: {test}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_test_is_known_by_its_line() {
        let failed = |line| failed_test(line).unwrap_or_default();
        assert_eq!(
            failed("test resets::a_lock_tells_the_truth    ... FAILED"),
            "resets::a_lock_tells_the_truth"
        );
        assert_eq!(
            failed("test src/lib.rs - LockKey (line 12) ... FAILED"),
            "src/lib.rs - LockKey (line 12)"
        );
        for line in [
            "test resets::a_lock_tells_the_truth ... ok",
            "test result: FAILED. 1 passed; 1 failed",
            "FAILED",
        ] {
            assert_eq!(failed_test(line), None, "{line}");
        }
    }
}
