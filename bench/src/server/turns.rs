//! Processes that take turns: what they are told, and how they do it.

use std::io::BufRead;
use std::time::Duration;

use locking_core::{Error, LockingModule};
use serde::{Deserialize, Serialize};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::Instant;

use crate::Result;

const KEY: &str = "prod_shared";
/// Far more than any turn takes to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a process is to do, for how long.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Order {
    /// So many tasks execute jobs on one key, each of which takes as long as the section.
    Execute { tasks: usize, section: Duration, length: Duration },
    /// Passes on a message to the next, after as long as the section. One starts with itself.
    Ring { round: u64, starts: Option<usize>, next: usize, section: Duration, length: Duration },
}

/// How often it was done.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Counted {
    /// Before the time was over.
    pub(crate) in_time: u64,
    pub(crate) all: u64,
}

impl Counted {
    pub(crate) fn add(&mut self, end: Instant) {
        self.all += 1;
        self.in_time += u64::from(Instant::now() < end);
    }
}

/// Carries out the orders that it reads, a line each, until there are no more. It counts nothing at first:
/// then it is ready.
pub(crate) fn obey(mut carry_out: impl FnMut(Order) -> Result<Counted>) -> Result {
    println!("{}", serde_json::to_string(&Counted::default())?);
    for line in std::io::stdin().lock().lines() {
        let counted = carry_out(serde_json::from_str(&line?)?)?;
        println!("{}", serde_json::to_string(&counted)?);
    }
    Ok(())
}

pub(crate) async fn execute(
    module: &LockingModule,
    tasks: usize,
    section: Duration,
    end: Instant,
) -> Counted {
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        let module = module.clone();
        running.spawn(async move {
            let mut counted = Counted::default();
            while Instant::now() < end {
                match module.execute(KEY, |_| take(section)).timeout(PATIENCE).await {
                    Ok(()) => counted.add(end),
                    // The machine stood still in the middle of a turn.
                    Err(Error::Lost { .. }) => {}
                    Err(error) => panic!("its turn comes: {error}"),
                }
            }
            counted
        });
    }
    let mut counted = Counted::default();
    for of_task in running.join_all().await {
        counted.in_time += of_task.in_time;
        counted.all += of_task.all;
    }
    counted
}

/// Takes that long. The runtime's own timer counts whole milliseconds, up to two for one: it would
/// hide what the hand-off costs.
pub(crate) async fn take(section: Duration) {
    if !section.is_zero() {
        let slept = spawn_blocking(move || std::thread::sleep(section)).await;
        slept.expect("it only sleeps");
    }
}
