use std::time::Duration;

use clap::Args;
use locking_core::LockingModule;
use tokio::time::{Instant, timeout_at};

use super::bare::Messages;
use super::server;
use crate::Result;
use crate::server::turns::{self, Counted, Order, take};

/// A process that takes turns with others.
#[derive(Debug, Args)]
pub(crate) struct Process {
    /// The server's address.
    url: String,
    /// Which of the processes it is.
    place: usize,
}

impl Process {
    pub(crate) fn run(&self) -> Result {
        let runtime = crate::runtime()?;
        let mut peer = runtime.block_on(Peer::connect(&self.url, self.place))?;
        turns::obey(|order| runtime.block_on(peer.obey(order)))
    }
}

struct Peer {
    module: LockingModule,
    messages: Messages,
}

impl Peer {
    async fn connect(url: &str, place: usize) -> Result<Self> {
        Ok(Self {
            module: server::module(url).await?,
            messages: Messages::connect(&server::ring_url(url)?, &channel(place)).await?,
        })
    }

    async fn obey(&mut self, order: Order) -> Result<Counted> {
        match order {
            Order::Execute { tasks, section, length } => {
                Ok(turns::execute(&self.module, tasks, section, Instant::now() + length).await)
            }
            Order::Ring { round, starts, next, section, length } => {
                let end = Instant::now() + length;
                if let Some(own) = starts {
                    self.messages.tell(&channel(own), &round.to_string()).await?;
                }
                self.ring(&round.to_string(), next, section, end).await
            }
        }
    }

    async fn ring(
        &mut self,
        round: &str,
        next: usize,
        section: Duration,
        end: Instant,
    ) -> Result<Counted> {
        let mut counted = Counted::default();
        while let Ok(message) = timeout_at(end, self.messages.next()).await {
            // What is left of an earlier round isn't passed on.
            if message.ok_or("the session has ended")? == round {
                take(section).await;
                self.messages.tell(&channel(next), round).await?;
                counted.add(end);
            }
        }
        Ok(counted)
    }
}

fn channel(place: usize) -> String {
    format!("ring_{place}")
}
