use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::ask::{Ask, AskId};
use super::lines::Lines;
use super::store::LineStore;
use crate::background::PATIENCE;
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::lease::{Lease, lease_event};
use crate::time::Expiry;
use crate::with_causes::WithCauses;

/// For how long something is still taken back after a close: then the store may be out of reach for good.
const AFTER_CLOSE: Duration = Duration::from_secs(300);

/// For how long an ask that may still come to the store is taken back, at least: a server that hangs carries out
/// what lies before it when it goes on. It has an end, because many such asks may be made while it is away.
const HUNG: Duration = Duration::from_secs(600);

/// The tasks that a [`Lines`] has started, and the calls that are under way: a close waits for them.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    running: AtomicUsize,
    ended: Notify,
}

/// One of them.
pub(super) struct Task(Arc<Tasks>);

impl Tasks {
    pub(super) fn begin(self: &Arc<Self>) -> Task {
        self.running.fetch_add(1, Ordering::SeqCst);
        Task(Arc::clone(self))
    }

    /// Waits until none runs.
    pub(super) async fn ended(&self) {
        loop {
            let ended = self.ended.notified();
            if self.running.load(Ordering::SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.ended.notify_waiters();
        }
    }
}

/// Takes an ask back, trying until the store answered or what it was granted has ended by itself; for ten minutes at
/// least where it may still come to the store (`unsure`). What has no end of its own is tried for a day.
///
/// # Errors
///
/// The store's last error.
pub(super) async fn withdraw<S: LineStore>(
    lines: &Lines<S>,
    ask: &Ask,
    unsure: bool,
) -> Result<()> {
    let lasts = ask.request.expiry.map_or(PATIENCE, Expiry::get);
    let lasts = if unsure { lasts.max(HUNG) } else { lasts };
    let keys = &ask.request.keys;
    let mut tries = Tries::within(lasts + lines.store().patience(), lines, keys);
    let mut unsure = unsure;
    loop {
        let done = lines.store().withdraw(ask, unsure).await;
        if !tries.go_on(&done).await {
            return done.inspect_err(|error| {
                tracing::warn!(
                    provider = %lines.store().id(), ?keys,
                    owner = ask.request.owner.as_ref().map(tracing::field::display),
                    error = %WithCauses::of(error), "an acquisition couldn't be taken back, it ends by its expiry"
                );
            });
        }
        // What is repeated may come before what it repeats.
        unsure = true;
    }
}

/// The same, by a task.
pub(super) fn withdraw_later<S: LineStore>(lines: &Arc<Lines<S>>, ask: Arc<Ask>, unsure: bool) {
    let by = Arc::clone(lines);
    lines.spawn(async move {
        // An error is logged there, and ends by the expiry.
        let _ = withdraw(&by, &ask, unsure).await;
    });
}

/// Gives back a lease that nobody heard of.
pub(super) async fn release_lease<S: LineStore>(
    lines: &Lines<S>,
    lease: &Lease,
    origin: Option<&AskId>,
) {
    let keys = lease.key_names();
    let mut tries = Tries::within(PATIENCE, lines, &keys);
    loop {
        let done = lines.store().release_lease(lease, origin).await;
        if tries.go_on(&done).await {
            continue;
        }
        match done {
            Ok(()) | Err(Error::Lost { .. }) => {}
            Err(error) => {
                lease_event!(
                    warn, lease, error = %WithCauses::of(&error),
                    "a lease couldn't be given back, it ends by its expiry"
                );
            }
        }
        return;
    }
}

/// Tries at growing intervals, for so long.
struct Tries<'a, S, K> {
    lines: &'a Lines<S>,
    /// What it is about, for events.
    keys: &'a K,
    give_up: Instant,
    backoff: Backoff,
}

impl<'a, S: LineStore, K: fmt::Debug> Tries<'a, S, K> {
    fn within(patience: Duration, lines: &'a Lines<S>, keys: &'a K) -> Self {
        Self { lines, keys, give_up: Instant::now() + patience, backoff: Backoff::default() }
    }

    /// Whether another try may help; it is due when this answers.
    async fn go_on(&mut self, done: &Result<()>) -> bool {
        let Err(error) = done else { return false };
        let now = Instant::now();
        if self.lines.is_closed() {
            self.give_up = self.give_up.min(now + AFTER_CLOSE);
        }
        if !error.is_retryable() || now >= self.give_up {
            return false;
        }
        tracing::debug!(
            provider = %self.lines.store().id(), keys = ?self.keys, error = %WithCauses::of(error),
            "clean-up failed, trying again"
        );
        sleep(self.backoff.next_delay()).await;
        true
    }
}
