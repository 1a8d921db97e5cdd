use clap::{Args, ValueEnum};

use crate::command::{self, Result, cargo};

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What is measured
    provider: Provider,
    /// For how many seconds the rates are measured [default: 45 for memory, 60 for redis, 90 for postgres]
    #[arg(long)]
    seconds: Option<u64>,
    /// For how many microseconds each commit waits besides, as on a slower disk: of postgres
    #[arg(long, value_name = "MICROSECONDS")]
    commit_delay: Option<u32>,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Provider {
    Memory,
    Redis,
    Postgres,
}

impl Bench {
    pub(crate) fn run(&self) -> Result {
        let mut bench;
        match self.provider {
            Provider::Memory => {
                let footprint = command::output(&mut optimised("footprint", MEMORY_ALONE))?;
                bench = optimised("bench", MEMORY_ALONE);
                bench.args(["--", "memory", "--footprint", footprint.trim()]);
            }
            Provider::Redis => {
                bench = optimised("bench", &[]);
                bench.args(["--", "redis"]);
            }
            Provider::Postgres => {
                bench = optimised("bench", &[]);
                bench.args(["--", "postgres"]);
            }
        }
        if let Some(seconds) = self.seconds {
            bench.args(["--seconds", &seconds.to_string()]);
        }
        if let Some(delay) = self.commit_delay {
            bench.args(["--commit-delay", &delay.to_string()]);
        }
        if self.json {
            bench.arg("--json");
        }
        command::run(&mut bench)
    }
}

/// Nothing of what servers are measured with is linked.
const MEMORY_ALONE: &[&str] = &["--no-default-features"];

/// One of the programs of the crate `bench`. This task itself is built without optimisation.
fn optimised(program: &str, features: &[&str]) -> std::process::Command {
    let mut command =
        cargo(&["run", "--quiet", "--release", "--package", "bench", "--bin", program]);
    command.args(features);
    command
}
