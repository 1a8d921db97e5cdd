//! What the server tells a client: it should be nothing where nobody waits.

use std::time::Duration;

use locking_core::LockingModule;

use super::bare::Messages;
use super::server::Server;
use crate::Result;
use crate::server::figure::{Bound, Figure};

const KEY: &str = "prod_noticed";
const A_MOMENT: Duration = Duration::from_millis(200);

/// Hears what one client is told.
pub(super) struct Notices(Messages);

impl Notices {
    /// Of the one module that there is at the server.
    pub(super) async fn of(module: &LockingModule, server: &Server) -> Result<Self> {
        // The lock by which a client shows that it lives has its number: that of the newest session.
        let number = "SELECT objid FROM pg_locks JOIN pg_stat_activity USING (pid) \
                      WHERE locktype = 'advisory' AND classid = 1819239275 AND objsubid = 2 \
                      AND objid BETWEEN 1 AND 2147483647 ORDER BY backend_start DESC LIMIT 1";
        let number = server.execute(number).await?;
        let mut told = Messages::connect(&server.url(), &format!("locking_{number}")).await?;

        // That it hears anything: somebody else's release.
        let other = server.module().await?;
        let lease = other.acquire(KEY).expire(Duration::from_secs(30)).await?;
        let waiting = tokio::spawn({
            let module = module.clone();
            async move { module.execute(KEY, |_| async {}).await }
        });
        tokio::time::sleep(A_MOMENT).await;
        other.release_lease(&lease).await?;
        waiting.await??;
        tokio::time::sleep(A_MOMENT).await;
        assert!(told.count() > 0, "who waits is told");
        other.close(Duration::from_secs(1)).await?;
        Ok(Self(told))
    }

    /// Of all that was measured with this client since.
    pub(super) fn figure(mut self) -> Figure {
        let told = self.0.count() as f64;
        Figure::of("notifications where nobody waits", Bound::AtMost(0.0), told)
    }
}
