//! Three processes want to write the same report every minute. One of them does, each minute.
//!
//! ```text
//! LOCKING_REDIS_URL=redis://127.0.0.1:6379 cargo run --package cron --example cron
//! LOCKING_POSTGRES_URL=postgres://me@127.0.0.1/shop cargo run --package cron --example cron
//! ```
//!
//! Without either it tries a Redis on this machine. In the database it makes a schema of its own, `cron`; on
//! Redis its keys begin with `cron:`, and are gone after ten minutes. Minutes take 400 ms here.
//!
//! 1. A lock that is held while the report is written isn't enough. Clocks differ: when the second
//!    process's clock says that it is time, the first one is done and the key is free again.
//! 2. What must happen once per tick is *the tick*. So the key names it, `report/2026-11-21T03:00`: who is
//!    granted that key, runs. It is a lease, never given back: it ends by itself, after longer than clocks
//!    can differ and than a process can come late.
//!
//! The second way still holds a lock while the report is written, so that one which takes longer than its
//! tick doesn't overlap with the next one.
//!
//! This is *at most once*: when the process dies that took the tick, nobody else runs it. Where a tick must
//! not be missed, write down in a database that it is done, and let every process look for what isn't.
//!
//! Each part checks what it shows; if one comes out otherwise, the program ends with an error.

use std::error::Error as StdError;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use locking::{Error, LockingConfig, LockingModule, ProviderConfig};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::sleep;

/// From one tick to the next.
const MINUTE: Duration = Duration::from_millis(400);
const TICKS: u32 = 3;
/// By how much the clock of each process is slow.
const SLOW: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(120), Duration::from_millis(240)];
/// How long writing a report takes.
const WRITING: Duration = Duration::from_millis(20);
/// Longer than clocks can differ; short enough that nobody minds the leases that are left.
const CLAIMED: Duration = Duration::from_secs(600);

/// Tells a process that it is one of the fleet, and what it locks.
const HOW: &str = "CRON_LOCKS";

type Result<T = ()> = std::result::Result<T, Box<dyn StdError>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result {
    match std::env::var(HOW) {
        Ok(how) => process(&how).await,
        Err(_) => watch().await,
    }
}

/// Starts the fleet, and counts who ran when.
async fn watch() -> Result {
    println!("each process locks `report` while it writes:");
    let reports = fleet("the job").await?;
    println!("  {reports} reports at {TICKS} ticks");
    assert!(reports > TICKS, "a slow clock finds the key free again");

    println!("each process claims the tick first:");
    let reports = fleet("the tick").await?;
    println!("  {reports} reports at {TICKS} ticks");
    assert_eq!(reports, TICKS, "each tick is claimed once");
    Ok(())
}

async fn fleet(how: &str) -> Result<u32> {
    let mut processes = Vec::new();
    for slow in SLOW {
        processes.push(Process::start(how, slow).await?);
    }
    // All are connected. The first tick is the next whole minute but one.
    let first = (clock(Duration::ZERO)?.as_millis() / MINUTE.as_millis() + 2) * MINUTE.as_millis();
    for process in &mut processes {
        process.tell(&first.to_string()).await?;
    }
    let mut reports = Vec::new();
    for process in processes {
        reports.extend(process.reports().await?);
    }
    reports.sort();
    for (tick, slow) in &reports {
        println!("  {tick}: written by the process whose clock is {} ms slow", slow.as_millis());
    }
    Ok(u32::try_from(reports.len())?)
}

/// One of the fleet, from outside.
struct Process {
    child: Child,
    says: Lines<BufReader<ChildStdout>>,
    slow: Duration,
}

impl Process {
    /// Started and connected.
    async fn start(how: &str, slow: Duration) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(slow.as_millis().to_string()).env(HOW, how).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let says = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let mut process = Self { child, says, slow };
        if process.says.next_line().await?.as_deref() != Some("ready") {
            return Err("a process failed; is there a server at LOCKING_REDIS_URL, or \
                        LOCKING_POSTGRES_URL?"
                .into());
        }
        Ok(process)
    }

    async fn tell(&mut self, line: &str) -> Result {
        let mut input = self.child.stdin.take().ok_or("no input")?;
        Ok(input.write_all(format!("{line}\n").as_bytes()).await?)
    }

    /// At which ticks it wrote a report, with by how much its clock is slow.
    async fn reports(mut self) -> Result<Vec<(String, Duration)>> {
        let mut reports = Vec::new();
        while let Some(tick) = self.says.next_line().await? {
            reports.push((tick, self.slow));
        }
        if self.child.wait().await?.success() { Ok(reports) } else { Err("it failed".into()) }
    }
}

/// One of the fleet, from inside: waits for each tick by its own clock.
async fn process(how: &str) -> Result {
    let slow = std::env::args().nth(1).ok_or("how slow?")?.parse()?;
    let slow = Duration::from_millis(slow);
    let module = LockingModule::new(LockingConfig::new().with_provider(server())).await?;
    println!("ready");
    let first = BufReader::new(tokio::io::stdin()).lines().next_line().await?;
    let first = Duration::from_millis(first.ok_or("when is the first tick?")?.parse()?);
    for number in 0..TICKS {
        let tick = first + MINUTE * number;
        sleep(tick.saturating_sub(clock(slow)?)).await;
        let runs = match how {
            "the job" => locked_while_it_runs(&module).await?,
            _ => once_per_tick(&module, tick).await?,
        };
        if runs {
            println!("{}", name(tick));
        }
    }
    module.close(Duration::from_secs(1)).await?;
    Ok(())
}

/// The mistake: whoever comes a little later finds the key free.
async fn locked_while_it_runs(module: &LockingModule) -> Result<bool> {
    match module.execute("report", |_lock| write_report()).timeout(Duration::ZERO).await {
        Ok(()) => Ok(true),
        Err(Error::Held { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The key names the tick, and the lease outlives the run.
async fn once_per_tick(module: &LockingModule, tick: Duration) -> Result<bool> {
    match module.acquire(format!("report/{}", name(tick))).expire(CLAIMED).await {
        Ok(_claim) => module.execute("report", |_lock| write_report()).await?,
        Err(Error::Held { .. }) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    Ok(true)
}

async fn write_report() {
    sleep(WRITING).await;
}

/// What all processes call the tick, whatever their clocks say: it comes from the schedule.
fn name(tick: Duration) -> String {
    format!("minute {}", tick.as_millis() / MINUTE.as_millis())
}

/// The time of day, as a process with a slow clock sees it.
fn clock(slow: Duration) -> Result<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.saturating_sub(slow))
}

/// What stores the locks. Nothing else depends on it.
fn server() -> ProviderConfig {
    if std::env::var_os("LOCKING_POSTGRES_URL").is_some() {
        ProviderConfig::new("locking-postgres")
            .with_option("url", "${LOCKING_POSTGRES_URL}")
            .with_option("schema", "cron")
            .with_option("migrate_at_start", true)
    } else {
        ProviderConfig::new("locking-redis")
            .with_option("redis_url", "${LOCKING_REDIS_URL:-redis://127.0.0.1:6379}")
            .with_option("namespace", "cron:")
    }
}
