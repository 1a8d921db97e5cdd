use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::counts::{Counter, Counts};
use super::fault::{Cut, Direction, Fault};
use super::rules::{Injected, Rules, Verdict};

/// One connection through a proxy. Clones are the same connection.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    number: u64,
    counter: Counter,
    /// Those of the proxy, which counts what all connections carry.
    all: Arc<Counter>,
    rules: Mutex<Rules>,
    state: watch::Sender<State>,
}

/// What the tasks of a connection wait for.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Counts the changes of its rules.
    changes: u64,
    cut: Option<Cut>,
    ended: bool,
}

impl Connection {
    pub(super) fn new(number: u64, all: Arc<Counter>, faults: &[Injected]) -> Self {
        let mut rules = Rules::default();
        faults.iter().cloned().for_each(|fault| rules.add(fault));
        let (counter, state) = (Counter::default(), watch::Sender::default());
        counter.connection();
        all.connection();
        Self(Arc::new(Inner { number, counter, all, rules: Mutex::new(rules), state }))
    }

    /// Its number: connections of a proxy are counted from 0, in the order in which they came.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// What it carried so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.counter.counts()
    }

    /// Whether it is still there.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let state = self.0.state.borrow();
        !state.ended && state.cut.is_none()
    }

    /// Injects a fault into this connection, besides those that it has.
    pub fn inject(&self, fault: Fault) {
        self.add(Injected::new(fault));
    }

    /// Takes back all faults of this connection.
    pub fn restore(&self) {
        self.rules().clear();
        self.changed();
    }

    /// Ends it now. What was on its way is lost.
    pub fn cut(&self, cut: Cut) {
        self.0.state.send_modify(|state| state.cut = state.cut.or(Some(cut)));
    }

    pub(super) fn add(&self, fault: Injected) {
        self.rules().add(fault);
        self.changed();
    }

    pub(super) fn end(&self) {
        self.0.state.send_modify(|state| state.ended = true);
    }

    /// Judges a piece, and counts it.
    pub(super) fn judge(&self, way: Direction, bytes: usize) -> Verdict {
        self.0.all.piece(way, bytes);
        let before = self.0.counter.piece(way, bytes);
        self.rules().judge(way, before, bytes)
    }

    /// Waits until nothing is held this way.
    pub(super) async fn until_let_go(&self, way: Direction) {
        self.while_there(|rules| rules.hold(way)).await;
    }

    /// Waits until an end is seen this way.
    pub(super) async fn until_an_end_shows(&self, way: Direction) {
        self.while_there(|rules| rules.hides_an_end(way)).await;
    }

    async fn while_there(&self, fault: impl Fn(&Rules) -> bool) {
        let mut state = self.0.state.subscribe();
        while fault(&self.rules()) {
            // Its sender is this connection, which is there.
            let _ = state.changed().await;
        }
    }

    /// Waits until it is to be cut.
    pub(super) async fn until_cut(&self) -> Cut {
        let mut state = self.0.state.subscribe();
        loop {
            if let Some(cut) = state.borrow_and_update().cut {
                return cut;
            }
            // Its sender is this connection, which is there.
            let _ = state.changed().await;
        }
    }

    fn changed(&self) {
        self.0.state.send_modify(|state| state.changes += 1);
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.0.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
