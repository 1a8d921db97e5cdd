use locking_core::{ProviderId, WithCauses};
use tokio::time::Instant;

use crate::failure::Failure;

/// Said of a session that turned out to be nobody's.
pub(crate) const SHARED: &str =
    "a pooler shares the connections to PostgreSQL between transactions: set `pgbouncer: true`";

/// The time in which no session can be opened. It is told of when it begins and when it is over; each try
/// between would be one line in every half second.
#[derive(Debug)]
pub(crate) struct Outage {
    since: Option<Instant>,
}

impl Outage {
    pub(crate) const fn none() -> Self {
        Self { since: None }
    }

    /// A try has failed.
    pub(crate) fn goes_on(&mut self, provider: &ProviderId, failure: &Failure) {
        if failure.is_shared() {
            // A mistake and no outage; it is tried seldom.
            tracing::error!(%provider, "{SHARED}");
            return;
        }
        let (is_first, error) = (self.since.is_none(), WithCauses::of(failure));
        self.since.get_or_insert_with(Instant::now);
        if is_first {
            tracing::warn!(
                %provider, %error,
                "no session with the PostgreSQL server: guards and jobs can't begin until there is one"
            );
        } else {
            tracing::debug!(%provider, %error, "still no session with the PostgreSQL server");
        }
    }

    /// A try has succeeded: the first one, or after others.
    pub(crate) fn is_over(&mut self, provider: &ProviderId) {
        if let Some(since) = self.since.take() {
            let lasted = since.elapsed();
            tracing::info!(%provider, ?lasted, "there is a session with the PostgreSQL server again");
        }
    }
}
