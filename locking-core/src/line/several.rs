use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::ask::{Answer, Ask, AskId, Manner};
use super::background;
use super::lines::Lines;
use super::place::{LEAD, at_deadline, withdrawn_from};
use super::queue::{not_taken_back, void};
use super::stake::Looks;
use super::store::LineStore;
use super::undo::Undo;
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::key::LockKey;
use crate::key_set::KeySet;
use crate::late;
use crate::moment::Moment;

/// Where a request for several keys is told that it may have been granted them.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) id: AskId,
    pub(super) noticed: Notify,
}

/// A request for several keys waits at the store itself: it can't stand in several lines at once.
pub(super) async fn wait<S: LineStore>(
    lines: &Arc<Lines<S>>,
    ask: Arc<Ask>,
    deadline: Option<Instant>,
) -> Result<Grant> {
    let mut waiting = Waiting::begin(lines, &ask);
    let mut undo = Undo::begin(lines, ask)?;
    // The first blocking key, once the store has named one.
    let mut blocking: Option<LockKey> = None;
    let mut trouble;
    let mut backoff = Backoff::default();
    let mut looks = Looks::default();
    let mut manner = Manner::Queue;
    // Whether it may be at the store.
    let mut placed = false;
    let leaves_at = deadline.map(withdrawn_from);
    // What it has at the store is taken back by the deadline; else there is nothing to take back.
    let until = |placed| if placed { leaves_at } else { deadline };
    loop {
        let sent = Moment::now();
        undo.asks();
        let asked = lines.store().ask(undo.ask(), manner, undo.is_repeated());
        let Some(answer) = at_deadline(until(placed), asked).await else {
            (placed, trouble) = (true, None);
            break;
        };
        let look_in = match answer {
            Ok(Answer::Granted(_)) if lines.is_closed() => {
                undo.answered();
                return Err(Error::closed(lines.store().id()));
            }
            Ok(Answer::Granted(grant)) => {
                let ask = undo.settled();
                lines.hold(&ask, &grant, sent);
                return Ok(grant.with_counted_from(sent));
            }
            Ok(Answer::Blocked(blocked)) => {
                undo.answered();
                (placed, trouble, manner) = (true, None, Manner::Again);
                backoff = Backoff::default();
                let look_in = looks.next(&blocked);
                blocking = Some(blocked.key);
                look_in
            }
            Ok(Answer::Void) => {
                let again = Arc::new(lines.new_ask(undo.ask().request.clone()));
                waiting = Waiting::begin(lines, &again);
                // Dropping the old one gives back what is left of it.
                undo = Undo::begin(lines, again)?;
                (placed, manner) = (false, Manner::Queue);
                trouble = Some(void(lines.store().id()));
                backoff.next_delay()
            }
            Err(full @ Error::CapacityExceeded { .. }) => {
                trouble = Some(full);
                break;
            }
            Err(error) => {
                if matches!(error, Error::UnknownOutcome { .. }) {
                    undo.lost();
                    (placed, manner) = (true, Manner::Again);
                }
                trouble = Some(error);
                backoff.next_delay()
            }
        };
        let woken = async {
            tokio::select! {
                () = waiting.inbox.noticed.notified() => {}
                () = sleep(look_in) => {}
            }
        };
        if at_deadline(until(placed), woken).await.is_none() {
            break;
        }
        if lines.is_closed() {
            return Err(Error::closed(lines.store().id()));
        }
    }
    drop(waiting);
    give_up(lines, undo, placed, deadline, blocking, trouble).await
}

/// Takes the ask back before the caller hears that its time is over: an error means not held.
async fn give_up<S: LineStore>(
    lines: &Arc<Lines<S>>,
    undo: Undo<'_, S>,
    placed: bool,
    deadline: Option<Instant>,
    blocking: Option<LockKey>,
    trouble: Option<Error>,
) -> Result<Grant> {
    let id = lines.store().id();
    if placed {
        let withdrawn = background::withdraw(lines, undo.ask(), undo.is_unsure());
        let soon = Instant::now() + LEAD;
        let by = deadline.map_or(soon, |deadline| deadline.min(soon));
        let withdrawn = late::at(by, withdrawn).await;
        if !matches!(withdrawn, Some(Ok(()))) {
            // It goes on in the background: that is what dropping `undo` does.
            return Err(not_taken_back(id));
        }
    }
    let key = undo.settled().request.keys.first().clone();
    if let Some(full @ Error::CapacityExceeded { .. }) = trouble {
        return Err(full);
    }
    if let Some(deadline) = deadline {
        sleep_until(deadline).await;
    }
    Err(match trouble {
        None => Error::timed_out(id, blocking.unwrap_or(key)),
        Some(error) => Error::unavailable(id, error),
    })
}

/// Its mark in the lines of its keys: they aren't passed on past it, and know where it is told.
struct Waiting<'a, S: LineStore> {
    lines: &'a Arc<Lines<S>>,
    keys: KeySet,
    inbox: Arc<Inbox>,
}

impl<'a, S: LineStore> Waiting<'a, S> {
    fn begin(lines: &'a Arc<Lines<S>>, ask: &Ask) -> Self {
        let inbox = Arc::new(Inbox { id: ask.id.clone(), noticed: Notify::new() });
        let keys = ask.request.keys.clone();
        for key in &keys {
            lines.with(key, |queue| {
                queue.several += 1;
                queue.inboxes.push(Arc::clone(&inbox));
            });
        }
        Self { lines, keys, inbox }
    }
}

impl<S: LineStore> Drop for Waiting<'_, S> {
    fn drop(&mut self) {
        for key in &self.keys {
            self.lines.with(key, |queue| {
                queue.several -= 1;
                queue.inboxes.retain(|inbox| !Arc::ptr_eq(inbox, &self.inbox));
            });
        }
    }
}
