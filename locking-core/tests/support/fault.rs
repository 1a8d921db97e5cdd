//! How a store's answers go wrong.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use locking_core::{Error, ProviderId, Result};

/// What befalls a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// It fails, and does nothing.
    Unavailable,
    /// It is refused for want of room, and does nothing.
    Full,
    /// Nobody knows whether it was carried out; it wasn't.
    Unknown,
    /// It never answers, and does nothing.
    Hang,
    /// It panics, and does nothing.
    Panic,
    /// It is carried out at once and answers this much later.
    Slow(Duration),
}

/// The calls of one kind: how many there were, and what befalls the next ones.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    count: AtomicUsize,
    script: Mutex<Script>,
}

#[derive(Debug, Default)]
struct Script {
    next: VecDeque<Fault>,
    then: Option<Fault>,
}

impl Calls {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// The next `n` calls go wrong, the later ones don't.
    pub(crate) fn next(&self, n: usize, fault: Fault) {
        self.set(Script { next: vec![fault; n].into(), then: None });
    }

    /// Every call goes wrong until [`recover`](Self::recover).
    pub(crate) fn all(&self, fault: Fault) {
        self.set(Script { next: VecDeque::new(), then: Some(fault) });
    }

    pub(crate) fn recover(&self) {
        self.set(Script::default());
    }

    /// Counts a call and lets it go wrong; answers how late it is to answer.
    pub(crate) async fn begin(&self, id: &ProviderId) -> Result<Duration> {
        self.count.fetch_add(1, Ordering::SeqCst);
        let fault = {
            let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
            script.next.pop_front().or(script.then)
        };
        match fault {
            None => Ok(Duration::ZERO),
            Some(Fault::Slow(late)) => Ok(late),
            Some(Fault::Unavailable) => Err(Error::unavailable(id, "told to fail")),
            Some(Fault::Full) => Err(Error::capacity_exceeded(id, "told to fail")),
            Some(Fault::Unknown) => Err(Error::unknown_outcome(id, "told to fail")),
            Some(Fault::Panic) => std::panic::resume_unwind(Box::new("told to panic")),
            Some(Fault::Hang) => std::future::pending().await,
        }
    }

    fn set(&self, script: Script) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = script;
    }
}
