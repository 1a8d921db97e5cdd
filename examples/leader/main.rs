//! Two nodes, of which one leads: it stops at once when it is deposed, and the other takes over.
//!
//! ```text
//! cargo run --example leader
//! ```
//!
//! Whoever holds the key `leader` leads. A node waits for it without end, leads until the lock is lost
//! or it steps down, and waits again.
//!
//! 1. One node leads, the other waits in line.
//! 2. The leader is deposed by force: its work is stopped at its next await, and the other one leads.
//! 3. The new leader steps down by itself: it gives the key back, and the first one leads again.
//! 4. The program ends: closing the module stops the leader, and nobody follows.
//!
//! Here both nodes are tasks of one process. With a provider that is shared between processes they are
//! processes, and nothing else changes. There a leader can be paused, and come back after its time is
//! over: what it writes carries its token, and the journal refuses the token of a former leader.
//!
//! Each part checks what it shows; if one comes out otherwise, the program ends with an error.

use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use locking::{Error, FencingToken, LockGuard, LockingConfig, LockingModule, LossReason, Wait};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};

type Result<T = ()> = std::result::Result<T, Box<dyn StdError + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result {
    let module = LockingModule::new(LockingConfig::new()).await?;
    let mut stage = Stage::new(module.clone());

    println!("1. One node leads, the other waits");
    let anna = stage.start("anna");
    let first = stage.leads("anna").await?;
    let bert = stage.start("bert");
    stage.somebody_waits().await?;
    println!("   bert waits in line");

    println!("2. The leader is deposed by force");
    let deposed = Instant::now();
    module.release_all().including_running().await?;
    stage.stops("anna", LossReason::Revoked).await?;
    println!("   anna's work was stopped after {:?}", deposed.elapsed());
    let second = stage.leads("bert").await?;
    ensure(second > first, "a new leader has a greater token")?;
    ensure(!stage.journal.write(first), "the journal refuses who led before")?;
    println!("   what anna sent late, with the token {first}, is refused");
    stage.somebody_waits().await?;

    println!("3. The leader steps down");
    bert.step_down.notify_one();
    stage.steps_down("bert").await?;
    let third = stage.leads("anna").await?;
    ensure(third > second, "also when it led before")?;
    stage.somebody_waits().await?;

    println!("4. The program ends");
    let broken = module.close(Duration::from_millis(50)).await?;
    stage.stops("anna", LossReason::Closed).await?;
    ensure(broken == 1, "the leader alone was stopped")?;
    for node in [anna, bert] {
        node.task.await??;
    }
    println!("   both nodes have ended");
    Ok(())
}

/// Leads whenever it can, until the module is closed.
async fn node(name: Name, module: LockingModule, told: Told, step_down: Arc<Notify>) -> Result {
    loop {
        // In line, first come, first served. With a server, `Unavailable` also gets here: try again.
        let guard = match module.lock("leader").timeout(Wait::Unlimited).await {
            Ok(guard) => guard,
            Err(Error::Closed { .. }) => return Ok(()),
            Err(error) if error.is_retryable() => {
                sleep(Duration::from_secs(1)).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        told.events.send((name, Event::Leads(guard.token())))?;
        let ended = tokio::select! {
            // The loss first: a leader that is deposed and has work to do stops.
            biased;
            reason = guard.lost() => Event::Stops(reason),
            () = step_down.notified() => Event::StepsDown,
            () = lead(&guard, &told.journal) => Event::StepsDown,
        };
        told.events.send((name, ended))?;
        if ended == Event::StepsDown {
            guard.release().await?;
        }
    }
}

/// What only a leader may do. It ends when the journal knows a newer one.
async fn lead(guard: &LockGuard, journal: &Journal) {
    while journal.write(guard.token()) {
        sleep(Duration::from_millis(5)).await;
    }
}

/// What the lock protects: it remembers the greatest token that it has seen.
#[derive(Default)]
struct Journal(Mutex<Option<FencingToken>>);

impl Journal {
    /// Whether the writer is the newest leader that is known here.
    fn write(&self, token: FencingToken) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if Some(token) < *last {
            return false;
        }
        *last = Some(token);
        true
    }
}

type Name = &'static str;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Leads(FencingToken),
    Stops(LossReason),
    StepsDown,
}

/// Where a node tells what it does.
struct Told {
    events: mpsc::UnboundedSender<(Name, Event)>,
    journal: Arc<Journal>,
}

/// The nodes as they are watched.
struct Stage {
    module: LockingModule,
    journal: Arc<Journal>,
    sender: mpsc::UnboundedSender<(Name, Event)>,
    events: mpsc::UnboundedReceiver<(Name, Event)>,
    /// What was told, and not looked at yet.
    told: Vec<(Name, Event)>,
}

struct Node {
    task: tokio::task::JoinHandle<Result>,
    step_down: Arc<Notify>,
}

impl Stage {
    fn new(module: LockingModule) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        Self { module, journal: Arc::default(), sender, events, told: Vec::new() }
    }

    fn start(&self, name: Name) -> Node {
        let step_down = Arc::new(Notify::new());
        let told = Told { events: self.sender.clone(), journal: Arc::clone(&self.journal) };
        let task = node(name, self.module.clone(), told, Arc::clone(&step_down));
        Node { task: tokio::spawn(task), step_down }
    }

    async fn leads(&mut self, name: Name) -> Result<FencingToken> {
        let event = self.next(name).await?;
        let Event::Leads(token) = event else {
            return Err(format!("expected that {name} leads, but: {event:?}").into());
        };
        println!("   {name} leads, with the token {token}");
        Ok(token)
    }

    async fn stops(&mut self, name: Name, why: LossReason) -> Result {
        let event = self.next(name).await?;
        println!("   {name} stops: {why}");
        ensure(event == Event::Stops(why), "the leader learns that it was deposed")
    }

    async fn steps_down(&mut self, name: Name) -> Result {
        let event = self.next(name).await?;
        println!("   {name} steps down");
        ensure(event == Event::StepsDown, "who steps down gives the key back")
    }

    /// The other node stands in line: it is the next.
    async fn somebody_waits(&self) -> Result {
        let waiting = async {
            while self.module.inspect("leader").await?.is_none_or(|hold| hold.waiters != Some(1)) {
                sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        };
        timeout(PATIENCE, waiting).await?
    }

    /// What this node does next. Where a leader is deposed, both tell something at the same moment.
    async fn next(&mut self, name: Name) -> Result<Event> {
        loop {
            if let Some(at) = self.told.iter().position(|(node, _)| *node == name) {
                return Ok(self.told.remove(at).1);
            }
            let told = timeout(PATIENCE, self.events.recv()).await?;
            self.told.push(told.ok_or("the nodes have ended")?);
        }
    }
}

/// How long the program waits for what must come.
const PATIENCE: Duration = Duration::from_secs(5);

fn ensure(holds: bool, expectation: &str) -> Result {
    if holds { Ok(()) } else { Err(format!("expected: {expectation}").into()) }
}
