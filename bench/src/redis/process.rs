use std::time::Duration;

use clap::Args;
use fred::clients::{Client, SubscriberClient};
use fred::interfaces::{EventInterface, PubsubInterface};
use fred::types::Message;
use locking_core::LockingModule;
use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, timeout_at};

use super::{bare, server};
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
                Ok(turns::execute(&self.module, tasks, section, Instant::now() + length).await)
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

fn channel(place: usize) -> String {
    format!("ring:{place}")
}
