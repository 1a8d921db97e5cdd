//! Measures the lock module over a provider, each call next to the floor of the same work.
//!
//! It answers with figures and never fails over them: a machine with other things to do is slow, and
//! that is no mistake in the code.

#![cfg_attr(
    not(feature = "servers"),
    allow(dead_code, reason = "what only servers are measured with")
)]

mod measure;
mod memory;
#[cfg(feature = "servers")]
mod postgres;
#[cfg(feature = "servers")]
mod redis;
mod report;
mod rounds;
#[cfg(feature = "servers")]
mod server;

use std::error::Error;
use std::fmt;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;
use tokio::runtime::{Handle, Runtime};

/// As many as the smallest machine has that the figures are compared on.
const WORKERS: usize = 2;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    provider: Provider,
}

#[derive(Debug, Subcommand)]
enum Provider {
    Memory(memory::Memory),
    #[cfg(feature = "servers")]
    Redis(redis::Redis),
    #[cfg(feature = "servers")]
    Postgres(postgres::Postgres),
    /// One of the processes that contend.
    #[cfg(feature = "servers")]
    #[command(hide = true)]
    RedisProcess(redis::process::Process),
    /// One of the processes that contend.
    #[cfg(feature = "servers")]
    #[command(hide = true)]
    PostgresProcess(postgres::process::Process),
}

/// How it is measured and shown, of every provider.
#[derive(Debug, Args)]
struct Measured {
    /// For how many seconds the rates are measured.
    #[arg(long)]
    seconds: Option<u64>,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

impl Measured {
    /// The time that is asked for, or so many seconds.
    fn length_or(&self, seconds: u64) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(seconds))
    }

    fn print<R: fmt::Display>(&self, report: &R, to_json: impl FnOnce(&R) -> Value) {
        if self.json {
            println!("{:#}", to_json(report));
        } else {
            print!("{report}");
        }
    }
}

fn main() -> Result {
    match Arguments::parse().provider {
        Provider::Memory(memory) => memory.run(),
        #[cfg(feature = "servers")]
        Provider::Redis(redis) => redis.run(),
        #[cfg(feature = "servers")]
        Provider::Postgres(postgres) => postgres.run(),
        #[cfg(feature = "servers")]
        Provider::RedisProcess(process) => process.run(),
        #[cfg(feature = "servers")]
        Provider::PostgresProcess(process) => process.run(),
    }
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?)
}

/// A runtime of one thread, which goes on for as long as the program does. What a call costs is seen best
/// there: with more threads it is also how often the call moves from one to the other.
fn one_thread() -> Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    Ok(handle)
}

/// Sixteen bytes each, as product numbers are.
fn keys(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("prod_{number:011}")).collect()
}

/// Their names, one for each task.
fn owners(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("user_{number:03}")).collect()
}
