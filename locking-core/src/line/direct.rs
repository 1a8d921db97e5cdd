use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::ask::{Answer, Manner};
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
                queue.stake = None;
                let session = grant.session.clone();
                lines.record(queue, Held::new(&ask, grant.lease.token(), sent, None, session));
                if !queue.waiters.is_empty() {
                    lines.ensure_agent(&key, queue);
                }
            });
            self.undo.take().map(Undo::settled);
            return Ok(grant.with_counted_from(sent));
        }
        let (tell, receiver) = oneshot::channel();
        lines.with_news(&key, |queue| {
            queue.waiters.push_front(Waiter { number, request, tell });
            queue.take_over(&ask, sent, answer, lines.store().id(), &key);
            if lines.is_closed() {
                queue.close(lines.store().id());
            }
            lines.ensure_agent(&key, queue);
        });
        self.undo.take().map(Undo::settled);
        Place::new(lines, key, number, receiver).wait(deadline).await
    }
}

impl<S: LineStore> Drop for Direct<'_, S> {
    fn drop(&mut self) {
        if self.undo.is_some() {
            self.lines.with(&self.key, |queue| {
                queue.stake = None;
                if !queue.waiters.is_empty() {
                    self.lines.ensure_agent(&self.key, queue);
                }
            });
        }
    }
}
