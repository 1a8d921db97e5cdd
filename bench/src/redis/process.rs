use std::io::BufRead;
use std::time::Duration;

use clap::Args;
use fred::clients::{Client, SubscriberClient};
use fred::interfaces::{EventInterface, PubsubInterface};
use fred::types::Message;
use locking_core::LockingModule;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::Receiver;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use super::{bare, server};
use crate::Result;

const KEY: &str = "prod_shared";
/// Far more than any turn takes to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that carries out the orders that it reads, a line each, until there are no more. It counts nothing at
/// first: then it is ready.
#[derive(Debug, Args)]
pub(crate) struct Process {
    /// The server's address.
    url: String,
    /// Which of the processes it is.
    place: usize,
}

/// What a process is to do, for how long.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Order {
    /// So many tasks execute jobs on one key, each of which takes as long as the section.
    Execute { tasks: usize, section: Duration, length: Duration },
    /// Passes on a message to the next, after as long as the section. One starts with itself.
    Ring { round: u64, starts: Option<usize>, next: usize, section: Duration, length: Duration },
}

/// How often it was done.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Counted {
    /// Before the time was over.
    pub(super) in_time: u64,
    pub(super) all: u64,
}

impl Process {
    pub(crate) fn run(&self) -> Result {
        let runtime = crate::runtime()?;
        let mut peer = runtime.block_on(Peer::connect(&self.url, self.place))?;
        println!("{}", serde_json::to_string(&Counted::default())?);
        for line in std::io::stdin().lock().lines() {
            let counted = runtime.block_on(peer.obey(serde_json::from_str(&line?)?))?;
            println!("{}", serde_json::to_string(&counted)?);
        }
        Ok(())
    }
}

struct Peer {
    module: LockingModule,
    client: Client,
    /// Heard as long as this lives.
    _subscriber: SubscriberClient,
    messages: Receiver<Message>,
}

impl Peer {
    async fn connect(url: &str, place: usize) -> Result<Self> {
        let subscriber = bare::subscriber(url).await?;
        let messages = subscriber.message_rx();
        subscriber.subscribe(channel(place)).await?;
        Ok(Self {
            module: server::module(url).await?,
            client: bare::client(url).await?,
            _subscriber: subscriber,
            messages,
        })
    }

    async fn obey(&mut self, order: Order) -> Result<Counted> {
        match order {
            Order::Execute { tasks, section, length } => {
                Ok(self.execute(tasks, section, Instant::now() + length).await)
            }
            Order::Ring { round, starts, next, section, length } => {
                let end = Instant::now() + length;
                if let Some(own) = starts {
                    self.publish(own, round).await?;
                }
                self.ring(round, next, section, end).await
            }
        }
    }

    async fn execute(&self, tasks: usize, section: Duration, end: Instant) -> Counted {
        let mut running = JoinSet::new();
        for _ in 0..tasks {
            let module = self.module.clone();
            running.spawn(async move {
                let mut counted = Counted::default();
                while Instant::now() < end {
                    let done = module.execute(KEY, |_| take(section)).timeout(PATIENCE).await;
                    done.expect("its turn comes");
                    counted.add(end);
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

    async fn ring(
        &mut self,
        round: u64,
        next: usize,
        section: Duration,
        end: Instant,
    ) -> Result<Counted> {
        let mut counted = Counted::default();
        while let Ok(message) = timeout_at(end, self.messages.recv()).await {
            // What is left of an earlier round isn't passed on.
            if message?.value.as_u64() == Some(round) {
                take(section).await;
                self.publish(next, round).await?;
                counted.add(end);
            }
        }
        Ok(counted)
    }

    async fn publish(&self, place: usize, round: u64) -> Result {
        let message = vec![channel(place).into(), round.to_string().into()];
        bare::send(&self.client, "PUBLISH", message).await?;
        Ok(())
    }
}

impl Counted {
    fn add(&mut self, end: Instant) {
        self.all += 1;
        self.in_time += u64::from(Instant::now() < end);
    }
}

fn channel(place: usize) -> String {
    format!("ring:{place}")
}

/// Takes that long. The runtime's own timer counts whole milliseconds, up to two for one: it would
/// hide what the hand-off costs.
async fn take(section: Duration) {
    if !section.is_zero() {
        let slept = spawn_blocking(move || std::thread::sleep(section)).await;
        slept.expect("it only sleeps");
    }
}
