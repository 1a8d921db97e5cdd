use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::sleep_until;

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
pub(super) async fn run<S: LineStore>(
    lines: Arc<Lines<S>>,
    key: LockKey,
    bell: Arc<Notify>,
    _task: Task,
) {
    let store = lines.store();
    loop {
        match lines.with_news(&key, |queue| {
            queue.next_step(store.id(), &key, |request| lines.new_ask(request.clone()))
        }) {
            Step::Ask(ask, manner, repeated) => {
                let sent = Moment::now();
                let answer = store.ask(&ask, manner, repeated).await;
                lines.with_news(&key, |queue| {
                    queue.answered(&ask, sent, answer, store.id(), &key);
                });
            }
            Step::Withdraw { ask, unsure, leaving } => {
                withdraw(&lines, &key, &ask, unsure, leaving).await;
            }
            Step::Reenter(requests) => reenter(&lines, &key, requests).await,
            Step::Rename(origin, lease) => {
                let renamed = store.rename(&origin, &lease).await;
                lines.with(&key, |queue| {
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
            Step::Leave => return,
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
