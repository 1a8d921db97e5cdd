use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::keeper::Keeper;
use super::state::GuardState;
use crate::backoff::Backoff;
use crate::error::Error;
use crate::lease::lease_event;
use crate::with_causes::WithCauses;

/// Renews a guard's lease once, trying until its local deadline: one failed attempt is no loss, nor is
/// one in which the provider panicked.
pub(super) async fn renew(keeper: Arc<Keeper>, id: u64, guard: Arc<GuardState>) {
    let mut unless_finished = PutBack { keeper, id, guard, finished: false };
    try_to_renew(&unless_finished.keeper, id, &unless_finished.guard).await;
    unless_finished.finished = true;
}

/// Has a renewal that broke off begun again: it succeeds, or signals the local deadline.
struct PutBack {
    keeper: Arc<Keeper>,
    id: u64,
    guard: Arc<GuardState>,
    finished: bool,
}

impl Drop for PutBack {
    fn drop(&mut self) {
        if !self.finished {
            // The less there is left, the sooner; but not ever more often.
            let shortest = (self.guard.expiry.get() / 20).min(Duration::from_millis(10));
            let pause = (term_of(&self.guard) / 20).clamp(shortest, Duration::from_secs(1));
            // At the deadline at the latest: the loss is signalled then.
            let pause = pause.min(self.guard.expires_in());
            self.keeper.schedule_after(pause, self.id);
        }
    }
}

async fn try_to_renew(keeper: &Arc<Keeper>, id: u64, guard: &GuardState) {
    let term = term_of(guard);
    let mut backoff = Backoff::new(term / 100, Duration::from_secs(1));
    while !guard.has_ended() && guard.loss_reason().is_none() {
        // Half of what is left, so that an attempt whose answer got lost leaves time for another.
        let left = guard.expires_in();
        let patience = (left / 2).max(term / 20).min(left);
        let renewed = tokio::select! {
            biased;
            renewed = timeout(patience, guard.renew()) => renewed,
            // By a clock that counts suspend, which the patience doesn't: whatever the provider does, a loss is
            // signalled in time.
            _ = guard.lost() => break,
        };
        match renewed {
            Ok(Ok(())) => return keeper.schedule(id, guard),
            Ok(Err(Error::Lost { key, reason, .. })) => {
                if !guard.has_ended() {
                    guard.note_lost_key(key);
                    let reason = guard.signalled().unwrap_or(reason);
                    guard.loss.signal(reason);
                    guard.warn_lost(reason);
                }
                return;
            }
            Ok(Err(error)) => {
                lease_event!(
                    debug, guard.lease, error = %WithCauses::of(&error), "renewal failed, trying again"
                );
                sleep(backoff.next_delay().min(guard.expires_in())).await;
            }
            Err(_) => lease_event!(debug, guard.lease, "renewal unanswered"),
        }
    }
    if let Some(reason) = guard.loss_reason().filter(|_| !guard.has_ended()) {
        guard.warn_lost(reason);
    }
}

/// How long the time lasts in which a renewal is due: the lease, of which a third has gone. Or a grant that is
/// shorter than the lease, of which next to nothing has.
fn term_of(guard: &GuardState) -> Duration {
    guard.expiry.get().min(guard.expires_in() * 3 / 2)
}
