use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::lines::Lines;
use super::queue::{Leaving, deserted, not_taken_back};
use super::store::LineStore;
use crate::error::Result;
use crate::grant::Grant;
use crate::key::LockKey;
use crate::late;

/// How long before its deadline a wait begins to be taken back at the store; a quarter of what is left of
/// it at most. An ask may be under way, and has to be answered before.
pub(super) const LEAD: Duration = Duration::from_millis(50);

/// A request's place in line. Dropped, it leaves the line; what it was granted and nobody heard of is
/// given back.
pub(super) struct Place<'a, S: LineStore> {
    lines: &'a Arc<Lines<S>>,
    key: LockKey,
    number: u64,
    answer: oneshot::Receiver<Result<Grant>>,
    left: bool,
}

impl<'a, S: LineStore> Place<'a, S> {
    pub(super) fn new(
        lines: &'a Arc<Lines<S>>,
        key: LockKey,
        number: u64,
        answer: oneshot::Receiver<Result<Grant>>,
    ) -> Self {
        Self { lines, key, number, answer, left: false }
    }

    /// Waits for the answer of the line.
    pub(super) async fn wait(mut self, deadline: Option<Instant>) -> Result<Grant> {
        let Some(deadline) = deadline else {
            let answer = (&mut self.answer).await;
            return self.answered(answer);
        };
        if let Ok(answer) = timeout_at(withdrawn_from(deadline), &mut self.answer).await {
            return self.answered(answer);
        }
        // With nothing at the store there is nothing to take back.
        if !self.is_alone_at_the_store()
            && let Ok(answer) = timeout_at(deadline, &mut self.answer).await
        {
            return self.answered(answer);
        }
        self.time_out(deadline).await
    }

    /// The same, until `other` is there: what it gives ends the wait if it is something.
    pub(super) async fn wait_or(
        mut self,
        deadline: Option<Instant>,
        other: impl Future<Output = Option<Grant>>,
    ) -> Result<Grant> {
        let other = at_deadline(deadline, other);
        let first = tokio::select! {
            biased;
            answer = &mut self.answer => return self.answered(answer),
            other = other => other.flatten(),
        };
        match first {
            Some(grant) if self.steps_aside() => Ok(grant),
            _ => self.wait(deadline).await,
        }
    }

    fn is_alone_at_the_store(&self) -> bool {
        self.lines.with(&self.key, |queue| queue.is_alone_at_the_store(self.number))
    }

    /// Leaves the line with the key that was got otherwise, if the line hasn't to do with that.
    fn steps_aside(&mut self) -> bool {
        let number = self.number;
        self.left = self.lines.with(&self.key, |queue| queue.step_aside(number));
        self.left
    }

    fn answered(
        &mut self,
        answer: Result<Result<Grant>, oneshot::error::RecvError>,
    ) -> Result<Grant> {
        self.left = true;
        // The agent broke off while it took this back.
        answer.unwrap_or_else(|_| Err(deserted(self.lines.store().id())))
    }

    /// Leaves the line, and the store's queue, before the caller hears that its time is over: an error
    /// means not held.
    async fn time_out(mut self, deadline: Instant) -> Result<Grant> {
        let (leaving, late) = self.lines.with(&self.key, |queue| {
            let late = queue.timed_out(self.lines.store().id(), &self.key);
            let (leaving, tell) = queue.leave(self.number);
            if let (Leaving::Withdrawn, Some(tell)) = (&leaving, tell) {
                queue.leaving.push(tell);
            }
            (leaving, late)
        });
        match leaving {
            Leaving::Gone => {
                self.left = true;
                // Somebody came meanwhile for whom it stays there.
                sleep_until(deadline).await;
                Err(late)
            }
            Leaving::Answered | Leaving::Withdrawn => {
                let answer = late::at(deadline, &mut self.answer).await;
                match answer {
                    Some(answer) => {
                        let answer = self.answered(answer);
                        if answer.is_err() {
                            sleep_until(deadline).await;
                        }
                        answer
                    }
                    // The agent goes on taking it back.
                    None => {
                        self.left = true;
                        Err(not_taken_back(self.lines.store().id()))
                    }
                }
            }
        }
    }
}

impl<S: LineStore> Drop for Place<'_, S> {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        self.lines.with(&self.key, |queue| queue.leave(self.number));
        if let Ok(Ok(grant)) = self.answer.try_recv() {
            self.lines.discard(grant.lease);
        }
    }
}

/// When a wait that begins now leaves the store, so that it is over at its deadline.
pub(super) fn withdrawn_from(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    deadline - LEAD.min(left / 4)
}

/// The output of a future, if it is there before the deadline.
pub(super) async fn at_deadline<F: Future>(
    deadline: Option<Instant>,
    future: F,
) -> Option<F::Output> {
    match deadline {
        Some(deadline) => timeout_at(deadline, future).await.ok(),
        None => Some(future.await),
    }
}
