use clap::Args;

use crate::command::{self, Result, cargo};
use crate::source::Source;
use crate::test;

/// The providers of this repository; `memory` is the crate `locking-memory`.
const PROVIDERS: [&str; 3] = [MEMORY, "postgres", "redis"];

const MEMORY: &str = "memory";

#[derive(Debug, Args)]
pub(crate) struct Conformance {
    /// Providers by their short names [default: all]
    providers: Vec<String>,
    /// Heavy cases at full scale: else they do a hundredth
    #[arg(long)]
    full: bool,
    /// JSON instead of a table: one report for each provider
    #[arg(long)]
    json: bool,
}

/// What a provider is the client of.
fn server_of(provider: &str) -> Option<test::Server> {
    match provider {
        "redis" => Some(test::REDIS_SERVER),
        "postgres" => Some(test::POSTGRES_SERVER),
        _ => None,
    }
}

impl Conformance {
    pub(crate) fn run(&self) -> Result {
        let mut providers: Vec<_> = self.providers.iter().map(String::as_str).collect();
        if providers.is_empty() {
            providers.extend(PROVIDERS);
        }
        if let Some(unknown) = providers.iter().find(|name| !PROVIDERS.contains(name)) {
            return Err(format!("no provider `{unknown}`; there are: {}", PROVIDERS.join(", ")));
        }
        let servers: Vec<_> = providers.iter().filter_map(|name| server_of(name)).collect();
        let source =
            if servers.is_empty() { Source::default() } else { test::set_up_suite(&servers)? };
        // Each is asked, whatever came of the others.
        let failures: Vec<_> =
            providers.iter().filter_map(|provider| self.report(provider, &source).err()).collect();
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
    }

    /// That of the memory provider, as a table.
    pub(crate) fn of_memory() -> Self {
        Self { providers: vec![MEMORY.to_owned()], full: false, json: false }
    }

    fn report(&self, provider: &str, source: &Source) -> Result {
        let package = format!("locking-{provider}");
        let mut command = cargo(&["test", "--quiet", "--package", &package, "--test", "contract"]);
        command.args(["--", "--report", if self.json { "json" } else { "table" }]);
        command.envs(source.variables());
        if self.full {
            command.arg("--full");
        }
        // Who has no server has what every case of its claims needs.
        if server_of(provider).is_none() {
            command.arg("--every-claim");
        }
        command::run(&mut command)
    }
}
