use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use locking_core::{Capabilities, Capability, LockingModule, LockingProvider};

use crate::facility::Facility;
use crate::faults::Proxy;
use crate::own_server::OwnServer;
use crate::process::{Process, WallClock, faketime};
use crate::surroundings::Surroundings;

/// What a case works with: two independent clients of the same store in a space of their own, and
/// fresh keys.
///
/// The clients of a case that uses [`Facility::OwnServer`] are connected to that server, and so are
/// its processes.
pub struct Fixture {
    /// The module over the first client.
    pub a: LockingModule,
    /// The module over the second client.
    pub b: LockingModule,
    surroundings: Surroundings,
    server: Option<Arc<dyn OwnServer>>,
    space: String,
}

/// How much a heavy case does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scale {
    /// A hundredth: for every test run.
    Hundredth,
    /// All of it: for a release.
    Full,
}

impl Fixture {
    /// In fresh surroundings; the error is the facility that isn't there.
    pub(crate) async fn new(
        surroundings: Surroundings,
        uses: &[Facility],
    ) -> Result<Self, Facility> {
        let mut server = None;
        for facility in uses {
            match facility {
                Facility::OwnServer => {
                    server = surroundings.harness.own_server().await;
                    server.as_ref().ok_or(*facility)?;
                }
                // Looked at below, with the clients.
                Facility::Entries | Facility::WaiterCounts | Facility::Secrets => {}
                Facility::Processes if surroundings.processes => {}
                Facility::WrongClocks if faketime().is_some() => {}
                Facility::Processes | Facility::WrongClocks => return Err(*facility),
            }
        }
        let space = fresh_space();
        let (a, b) = match &server {
            None => (
                surroundings.harness.connect(&space).await,
                surroundings.harness.connect(&space).await,
            ),
            Some(server) => (
                server.connect(&space, server.address()).await,
                server.connect(&space, server.address()).await,
            ),
        };
        let (a, b) = (LockingModule::with_provider(a), LockingModule::with_provider(b));
        let fixture = Self { a, b, surroundings, server, space };
        if uses.contains(&Facility::Entries) && fixture.entries().await.is_none() {
            return Err(Facility::Entries);
        }
        if uses.contains(&Facility::WaiterCounts) && !fixture.counts_waiters().await {
            return Err(Facility::WaiterCounts);
        }
        if uses.contains(&Facility::Secrets) && fixture.server().secrets().is_empty() {
            return Err(Facility::Secrets);
        }
        Ok(fixture)
    }

    /// Whether the store tells how many wait. What fails here is left to the case to find.
    async fn counts_waiters(&self) -> bool {
        let key = self.key("counted");
        let Ok(lease) = self.a.acquire(&key).await else { return true };
        let told = self.b.inspect(&key).await;
        let is_released = self.a.release_lease(&lease).await;
        !matches!((told, is_released), (Ok(Some(info)), Ok(true)) if info.waiters.is_none())
    }

    /// One more independent client.
    pub async fn client(&self) -> Arc<dyn LockingProvider> {
        match &self.server {
            None => self.surroundings.harness.connect(&self.space).await,
            Some(server) => server.connect(&self.space, server.address()).await,
        }
    }

    /// One more independent client, connected to this address: a proxy before the own server.
    ///
    /// # Panics
    ///
    /// If the case doesn't say that it uses [`Facility::OwnServer`].
    pub async fn client_at(&self, address: SocketAddr) -> Arc<dyn LockingProvider> {
        self.server().connect(&self.space, address).await
    }

    /// One more independent client, in a process of its own.
    ///
    /// # Panics
    ///
    /// If it can't be started, and if the case doesn't say that it uses [`Facility::Processes`].
    pub async fn process(&self) -> Process {
        self.process_in(self.child_environment(), None).await
    }

    /// The same, with a wall clock that is wrong.
    ///
    /// # Panics
    ///
    /// As [`process`](Self::process) does, if the process has another clock than it should, and if the
    /// case doesn't say that it uses [`Facility::WrongClocks`].
    pub async fn process_with(&self, clock: WallClock) -> Process {
        self.process_in(self.child_environment(), Some(clock)).await
    }

    /// The same, connected to this address: a proxy before the own server.
    ///
    /// # Panics
    ///
    /// As [`process`](Self::process) and [`server`](Self::server) do.
    pub async fn process_at(&self, address: SocketAddr) -> Process {
        self.process_in(self.server().child_environment(address), None).await
    }

    fn child_environment(&self) -> Vec<(String, String)> {
        match &self.server {
            None => self.surroundings.harness.child_environment(),
            Some(server) => server.child_environment(server.address()),
        }
    }

    async fn process_in(
        &self,
        environment: Vec<(String, String)>,
        clock: Option<WallClock>,
    ) -> Process {
        assert!(self.surroundings.processes, "the case's line says `+ Processes`");
        Process::start(&self.space, environment, clock).await
    }

    /// A proxy before the own server, for [`client_at`](Self::client_at) and
    /// [`process_at`](Self::process_at).
    ///
    /// # Panics
    ///
    /// As [`server`](Self::server) does, and if no port is free.
    pub async fn proxy(&self) -> Proxy {
        Proxy::to(self.server().address()).await.expect("a port for the proxy")
    }

    /// The server that only this case uses.
    ///
    /// # Panics
    ///
    /// If the case doesn't say that it uses [`Facility::OwnServer`].
    #[must_use]
    pub fn server(&self) -> &dyn OwnServer {
        self.server.as_deref().expect("the case's line says `+ OwnServer`")
    }

    /// The module over one more independent client.
    pub async fn module(&self) -> LockingModule {
        LockingModule::with_provider(self.client().await)
    }

    /// A key that no other case uses. Keys of one case sort as their names do.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.space)
    }

    /// How many entries the store keeps for this case, if the harness can tell.
    pub async fn entries(&self) -> Option<u64> {
        match &self.server {
            None => self.surroundings.harness.entries(&self.space).await,
            Some(server) => server.entries(&self.space).await,
        }
    }

    /// What the provider claims.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.surroundings.claims
    }

    /// How much a heavy case does.
    #[must_use]
    pub fn scale(&self) -> Scale {
        self.surroundings.scale
    }

    /// `full` at full scale, else a hundredth of it.
    #[must_use]
    pub fn scaled(&self, full: usize) -> usize {
        match self.surroundings.scale {
            Scale::Full => full,
            Scale::Hundredth => full.div_ceil(100),
        }
    }

    /// The same for what waits its turn so often: a tenth where waiters aren't told of it, but look.
    pub(crate) fn scaled_by_turns(&self, full: usize) -> usize {
        let all = self.scaled(full);
        if self.capabilities().has(Capability::Notified) { all } else { all.div_ceil(10) }
    }
}

impl std::fmt::Debug for Fixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fixture").field("space", &self.space).finish_non_exhaustive()
    }
}

/// Unique on a store that many runs share.
fn fresh_space() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("t{:016x}_{count}", fastrand::u64(..))
}
