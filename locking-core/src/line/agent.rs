use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep_until};

use super::ask::{Answer, Ask, Manner};
use super::background::{self, Task};
use super::lines::Lines;
use super::queue::{Answering, Step};
use super::store::LineStore;
use crate::error::Error;
use crate::key::LockKey;
use crate::moment::Moment;
use crate::request::AcquireRequest;

/// Speaks to the store for a line, as long as there is one: no waiter that comes or goes can leave a
/// question half asked.
pub(super) async fn run<S: LineStore>(mut watch: Watch<S>) {
    let Watch { lines, key, bell, has_left, .. } = &mut watch;
    let (lines, key, store) = (&*lines, &*key, lines.store());
    loop {
        match lines.with_news(key, |queue| {
            let next_ask = |request: &AcquireRequest| lines.new_ask(request.clone());
            let step = queue.next_step(store.id(), key, store.patience(), next_ask);
            queue.agent_does(&step);
            step
        }) {
            Step::Ask(ask, manner, repeated) => {
                let sent = Moment::now();
                let answer = store.ask(&ask, manner, repeated).await;
                lines.with_news(key, |queue| {
                    queue.answered(&ask, sent, answer, store.id(), key);
                });
            }
            Step::Withdraw { ask, unsure, leaving } => {
                withdraw(lines, key, &ask, unsure, leaving).await;
            }
            Step::Reenter(requests) => reenter(lines, key, requests).await,
            Step::Rename(origin, lease) => {
                let renamed = store.rename(&origin, &lease).await;
                lines.with(key, |queue| {
                    if let Some(held) = &mut queue.held {
                        held.renamed(lease.token(), renamed.is_ok());
                    }
                });
            }
            Step::Sleep(until) => {
                tokio::select! {
                    () = bell.notified() => {}
                    () = sleep_until(until) => {}
                }
            }
            Step::Leave => {
                *has_left = true;
                return;
            }
        }
    }
}

/// The agent as its line knows it. One that has nothing to do sleeps on until the time for which it was last
/// needed, and leaves then: on a busy key the next waiter finds it there.
#[derive(Debug)]
pub(super) struct Agent {
    bell: Arc<Notify>,
    /// The store's.
    patience: Duration,
    /// `None`: it is at work, and looks at the line once more after that.
    asleep_until: Option<Instant>,
}

impl Agent {
    pub(super) fn new(bell: &Arc<Notify>, patience: Duration) -> Self {
        Self { bell: Arc::clone(bell), patience, asleep_until: None }
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.asleep_until.is_some()
    }

    pub(super) fn wake(&self) {
        self.bell.notify_one();
    }

    /// Wakes it unless it wakes by then.
    pub(super) fn wake_by(&self, at: Instant) {
        if self.asleep_until.is_some_and(|until| at < until) {
            self.wake();
        }
    }

    pub(super) fn sleeps_until(&mut self, until: Instant) {
        self.asleep_until = Some(until);
    }

    pub(super) fn works(&mut self) {
        self.asleep_until = None;
    }

    fn is(&self, bell: &Arc<Notify>) -> bool {
        Arc::ptr_eq(&self.bell, bell)
    }
}

/// Sees to it that a line isn't left to an agent that broke off: the store panicked under it, or its runtime
/// has ended, maybe before it began.
pub(super) struct Watch<S: LineStore> {
    lines: Arc<Lines<S>>,
    key: LockKey,
    bell: Arc<Notify>,
    /// Whether it was spawned, and whether it has broken off, by who came first.
    first: Arc<OnceLock<First>>,
    has_left: bool,
    /// Last: a close waits for what is taken back on that account, too.
    _task: Task,
}

/// What came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    Spawned,
    /// Its line is looked after by whoever spawned it: that holds the line's mutex.
    BrokeOff,
}

impl<S: LineStore> Watch<S> {
    pub(super) fn new(
        lines: &Arc<Lines<S>>,
        key: &LockKey,
        bell: &Arc<Notify>,
        task: Task,
    ) -> Self {
        Self {
            lines: Arc::clone(lines),
            key: key.clone(),
            bell: Arc::clone(bell),
            first: Arc::default(),
            has_left: false,
            _task: task,
        }
    }

    pub(super) fn first(&self) -> Arc<OnceLock<First>> {
        Arc::clone(&self.first)
    }
}

impl<S: LineStore> Drop for Watch<S> {
    fn drop(&mut self) {
        if self.has_left || *self.first.get_or_init(|| First::BrokeOff) == First::BrokeOff {
            return;
        }
        let left = self.lines.with(&self.key, |queue| {
            let is_own = queue.agent.as_ref().is_some_and(|agent| agent.is(&self.bell));
            is_own.then(|| queue.desert(self.lines.store().id())).flatten()
        });
        if let Some((ask, unsure)) = left {
            background::withdraw_later(&self.lines, ask, unsure);
        }
    }
}

async fn withdraw<S: LineStore>(
    lines: &Lines<S>,
    key: &LockKey,
    ask: &Ask,
    unsure: bool,
    leaving: Vec<Answering>,
) {
    let id = lines.store().id();
    let withdrawn = background::withdraw(lines, ask, unsure).await;
    for tell in leaving {
        let error = match &withdrawn {
            Ok(()) => lines.with(key, |queue| queue.timed_out(id, key)),
            Err(error) => Error::unknown_outcome(id, error.to_string()),
        };
        let _ = tell.send(Err(error));
    }
}

async fn reenter<S: LineStore>(
    lines: &Lines<S>,
    key: &LockKey,
    requests: Vec<(u64, AcquireRequest)>,
) {
    for (number, request) in requests {
        // Unanswered, it is asked again when the line asks next.
        if let Ok(Answer::Granted(grant)) =
            lines.store().ask(&lines.new_ask(request), Manner::Reenter, false).await
        {
            lines.with(key, |queue| queue.reentered(number, grant));
        }
    }
}
