use clap::Args;

use crate::command::{self, Result, cargo};

/// The providers of this repository; `memory` is the crate `locking-memory`.
const PROVIDERS: [&str; 3] = ["memory", "postgres", "redis"];

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

impl Conformance {
    pub(crate) fn run(&self) -> Result {
        let mut providers: Vec<_> = self.providers.iter().map(String::as_str).collect();
        if providers.is_empty() {
            providers.extend(PROVIDERS);
        }
        if let Some(unknown) = providers.iter().find(|name| !PROVIDERS.contains(name)) {
            return Err(format!("no provider `{unknown}`; there are: {}", PROVIDERS.join(", ")));
        }
        // Each is asked, whatever came of the others.
        let failures: Vec<_> =
            providers.iter().filter_map(|provider| self.report(provider).err()).collect();
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
    }

    fn report(&self, provider: &str) -> Result {
        let package = format!("locking-{provider}");
        let mut command = cargo(&["test", "--quiet", "--package", &package, "--test", "contract"]);
        command.args(["--", "--report", if self.json { "json" } else { "table" }]);
        if self.full {
            command.arg("--full");
        }
        command::run(&mut command)
    }
}
