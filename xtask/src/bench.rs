use clap::{Args, ValueEnum};

use crate::command::{self, Result, cargo};

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What is measured
    provider: Provider,
    /// For how many seconds the rates are measured
    #[arg(long, default_value_t = 45)]
    seconds: u64,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Provider {
    Memory,
}

impl Bench {
    pub(crate) fn run(&self) -> Result {
        match self.provider {
            Provider::Memory => self.memory(),
        }
    }

    fn memory(&self) -> Result {
        let footprint = command::output(&mut optimised("footprint"))?;
        let mut bench = optimised("bench");
        bench.args(["--", "--seconds", &self.seconds.to_string(), "--footprint", footprint.trim()]);
        if self.json {
            bench.arg("--json");
        }
        command::run(&mut bench)
    }
}

/// One of the programs of the crate `bench`. This task itself is built without optimisation.
fn optimised(program: &str) -> std::process::Command {
    cargo(&["run", "--quiet", "--release", "--package", "bench", "--bin", program])
}
