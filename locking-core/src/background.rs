use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::backoff::Backoff;
use crate::error::Error;
use crate::lease::{Lease, lease_event};
use crate::provider::LockingProvider;
use crate::with_causes::WithCauses;

/// How long what never expires by itself is given back, or taken back: a provider that is let go of
/// while its store is out of reach for good isn't kept for ever.
pub(crate) const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Gives a lease back without the caller: at once where the provider can, else by a task that
/// tries until the store answered or `within` is over, when the lease has ended by itself (`None`: a day,
/// for one that never does).
///
/// Neither blocks nor needs a runtime: `runtime` may be gone, then the lease ends by its expiry.
/// What `pending` makes lives as long as the task.
pub(crate) fn release<P: LockingProvider + ?Sized, T: Send + 'static>(
    provider: &Arc<P>,
    lease: &Lease,
    within: Option<Duration>,
    runtime: &Handle,
    pending: impl FnOnce() -> T,
) {
    if provider.release_now(lease).is_some() {
        return;
    }
    let lease = lease.clone();
    let give_up = within.unwrap_or(PATIENCE);
    let (provider, pending) = (Arc::clone(provider), pending());
    runtime.spawn(async move {
        try_release(&*provider, &lease, give_up).await;
        drop(pending);
    });
}

async fn try_release<P: LockingProvider + ?Sized>(provider: &P, lease: &Lease, within: Duration) {
    let give_up = Instant::now() + within;
    let mut backoff = Backoff::default();
    loop {
        match timeout_at(give_up, provider.release_lease(lease)).await {
            Ok(Ok(()) | Err(Error::Lost { .. } | Error::Closed { .. })) => return,
            Ok(Err(error)) if Instant::now() < give_up && error.is_retryable() => {
                lease_event!(
                    debug, lease, error = %WithCauses::of(&error), "release failed, trying again"
                );
                sleep(backoff.next_delay()).await;
            }
            Ok(Err(error)) => {
                let error = WithCauses::of(&error);
                lease_event!(warn, lease, %error, "release failed, the lease ends by its expiry");
                return;
            }
            Err(_) => {
                lease_event!(warn, lease, "release unanswered, the lease ends by its expiry");
                return;
            }
        }
    }
}
