use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::turns::{Counted, Order};
use crate::Result;

/// Copies of this program that do as they are told.
pub(crate) struct Processes(RefCell<Vec<Peer>>);

struct Peer {
    process: Child,
    /// It ends when this is closed.
    orders: Option<ChildStdin>,
    counts: BufReader<ChildStdout>,
}

impl Processes {
    /// `kind`: the subcommand that each runs, with the server's address and its place.
    pub(crate) fn start(count: usize, kind: &str, url: &str) -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut peers = Vec::new();
        for place in 0..count {
            let mut process = Command::new(&program)
                .args([kind, url, &place.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let (orders, counts) = (process.stdin.take(), process.stdout.take());
            let counts = counts.ok_or("a process without output")?;
            peers.push(Peer { process, orders, counts: BufReader::new(counts) });
        }
        for peer in &mut peers {
            peer.count()?;
        }
        Ok(Self(RefCell::new(peers)))
    }

    /// Has the first `count` of them carry out an order at the same time, each its own.
    pub(crate) fn all_of(&self, count: usize, order: impl Fn(usize) -> Order) -> Vec<Counted> {
        let peers = &mut self.0.borrow_mut()[..count];
        for (place, peer) in peers.iter_mut().enumerate() {
            peer.tell(&order(place)).expect("the process reads");
        }
        peers.iter_mut().map(|peer| peer.count().expect("the process answers")).collect()
    }
}

impl Peer {
    fn tell(&mut self, order: &Order) -> Result {
        let orders = self.orders.as_mut().ok_or("closed")?;
        Ok(writeln!(orders, "{}", serde_json::to_string(order)?)?)
    }

    fn count(&mut self) -> Result<Counted> {
        let mut line = String::new();
        self.counts.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.orders = None;
        // It isn't there any more.
        let _ = self.process.wait();
    }
}
