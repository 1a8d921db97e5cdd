use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::ask::{Answer, Manner};
use super::background;
use super::held::Held;
use super::lines::Lines;
use super::place::{Place, at_deadline};
use super::queue::Waiter;
use super::store::LineStore;
use super::undo::Undo;
use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::key::LockKey;
use crate::moment::Moment;
use crate::request::AcquireRequest;

/// The first in a line asks in its own call: where nobody contends, that is all there is.
pub(super) struct Direct<'a, S: LineStore> {
    lines: &'a Arc<Lines<S>>,
    key: LockKey,
    undo: Option<Undo<'a, S>>,
}

impl<'a, S: LineStore> Direct<'a, S> {
    pub(super) fn new(lines: &'a Arc<Lines<S>>, key: LockKey, undo: Undo<'a, S>) -> Self {
        Self { lines, key, undo: Some(undo) }
    }

    pub(super) async fn ask(
        mut self,
        request: AcquireRequest,
        number: u64,
        deadline: Option<Instant>,
    ) -> Result<Grant> {
        let (lines, key) = (self.lines, self.key.clone());
        let undo = self.undo.as_ref().expect("there until it is settled below");
        let ask = Arc::clone(undo.ask());
        let sent = Moment::now();
        let answer = at_deadline(deadline, lines.store().ask(&ask, Manner::Queue, false)).await;
        let closed = lines.is_closed();
        if closed {
            // Dropping this takes it back.
            return Err(Error::closed(lines.store().id()));
        }
        // There is no await before the line has what was asked for.
        if let Some(Ok(Answer::Granted(grant))) = answer {
            lines.with(&key, |queue| {
                queue.end_direct(&ask);
                let session = grant.session.clone();
                lines.record(queue, Held::new(&ask, grant.lease.token(), sent, None, session));
                if queue.waiters.is_empty() {
                    queue.wake_agent();
                } else {
                    lines.ensure_agent(&key, queue);
                }
            });
            self.undo.take().map(Undo::settled);
            return Ok(grant.with_counted_from(sent));
        }
        let (tell, receiver) = oneshot::channel();
        let (waiter, again) = (Waiter { number, request: request.clone(), tell }, request);
        let is_taken_over = lines.with_news(&key, |queue| {
            if !queue.is_asked_by(&ask) {
                return false;
            }
            queue.waiters.push_front(waiter);
            queue.take_over(&ask, sent, answer, lines.store().id(), &key);
            if lines.is_closed() {
                queue.close(lines.store().id());
            }
            lines.ensure_agent(&key, queue);
            true
        });
        if !is_taken_over {
            return self.start_anew(again, deadline).await;
        }
        self.undo.take().map(Undo::settled);
        Place::new(lines, key, number, receiver).wait(deadline).await
    }
}

impl<S: LineStore> Direct<'_, S> {
    /// This wasn't polled for so long that the line asks without it. It is taken back, before anybody hears that
    /// it isn't held, and waits like others.
    async fn start_anew(
        mut self,
        request: AcquireRequest,
        deadline: Option<Instant>,
    ) -> Result<Grant> {
        let lines = self.lines;
        let undo = self.undo.as_ref().expect("it isn't settled");
        let withdrawn = background::withdraw(lines, undo.ask(), true);
        if !matches!(at_deadline(deadline, withdrawn).await, Some(Ok(()))) {
            // Dropping this goes on with it.
            let late = "the wait couldn't be taken back in time";
            return Err(Error::unknown_outcome(lines.store().id(), late));
        }
        self.undo.take().map(Undo::settled);
        Box::pin(lines.in_line(request, deadline)).await
    }
}

impl<S: LineStore> Drop for Direct<'_, S> {
    fn drop(&mut self) {
        if self.undo.is_some() {
            let ask = self.undo.as_ref().map(|undo| Arc::clone(undo.ask()));
            self.lines.with(&self.key, |queue| {
                ask.iter().for_each(|ask| queue.end_direct(ask));
                if queue.waiters.is_empty() {
                    queue.wake_agent();
                } else {
                    self.lines.ensure_agent(&self.key, queue);
                }
            });
        }
    }
}
