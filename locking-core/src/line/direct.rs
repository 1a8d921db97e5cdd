use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::ask::{Answer, Manner};
use super::background;
use super::held::Held;
use super::lines::Lines;
use super::place::{Place, at_deadline};
use super::queue::{Waiter, not_taken_back};
use super::store::LineStore;
use super::undo::Undo;
use crate::backoff::Backoff;
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
                let session = grant.session.clone();
                lines.record(queue, Held::new(&ask, grant.lease.token(), sent, None, session));
                lines.end_direct(&key, queue, &ask);
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
            // In a box: the usual one needs no room for it.
            return Box::pin(self.start_anew(again, deadline)).await;
        }
        self.undo.take().map(Undo::settled);
        Place::new(lines, key, number, receiver).wait(deadline).await
    }
}

impl<S: LineStore> Direct<'_, S> {
    /// This wasn't polled for so long that the line asks without it. It asks once more by itself: it may have been
    /// granted meanwhile, and entered by its owner's other calls. If it wasn't, it is taken back, before anybody
    /// hears that it isn't held, and waits like others.
    async fn start_anew(
        mut self,
        request: AcquireRequest,
        deadline: Option<Instant>,
    ) -> Result<Grant> {
        let lines = self.lines;
        let ask = Arc::clone(self.undo.as_ref().expect("it isn't settled").ask());
        let again = async {
            let mut backoff = Backoff::default();
            loop {
                let sent = Moment::now();
                match lines.store().ask(&ask, Manner::Again, true).await {
                    Ok(Answer::Granted(grant)) => return Ok(Some((grant, sent))),
                    Ok(_) => {
                        background::withdraw(lines, &ask, true).await?;
                        return Ok(None);
                    }
                    Err(error) if error.is_retryable() && !lines.is_closed() => {
                        sleep(backoff.next_delay()).await;
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        match at_deadline(deadline, again).await {
            Some(Ok(Some((grant, sent)))) if !lines.is_closed() => {
                self.undo.take().map(Undo::settled);
                lines.hold(&ask, &grant, sent);
                Ok(grant.with_counted_from(sent))
            }
            Some(Ok(None)) => {
                self.undo.take().map(Undo::settled);
                Box::pin(lines.in_line(request, deadline)).await
            }
            // Dropping this takes it back.
            _ if lines.is_closed() => Err(Error::closed(lines.store().id())),
            _ => Err(not_taken_back(lines.store().id())),
        }
    }
}

impl<S: LineStore> Drop for Direct<'_, S> {
    fn drop(&mut self) {
        if let Some(undo) = &self.undo {
            self.lines.with(&self.key, |queue| {
                self.lines.end_direct(&self.key, queue, undo.ask());
            });
        }
    }
}
