use std::sync::Arc;

use locking_core::{LockingProvider, async_trait};

use crate::own_server::OwnServer;

/// What the suite needs to know of a provider: how to get clients of it.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// One more independent client of the store, in this space.
    ///
    /// # Contract
    ///
    /// - Clients of one space share their locks; clients of different spaces never meet. A space is
    ///   a namespace, a schema, a table, a file, in which nothing is held at first: `space` is a name
    ///   of lower case letters, digits and underscores, unique to one run of one case.
    /// - Clients are independent as those of two processes are: nothing but the store joins them,
    ///   and closing one leaves the other as it is.
    /// - All of them have the same id.
    ///
    /// # Panics
    ///
    /// If the store can't be reached: a suite that is skipped in silence proves nothing.
    async fn connect(&self, space: &str) -> Arc<dyn LockingProvider>;

    /// How many entries of any kind (keys, rows, queues, indexes) the store keeps for this space,
    /// besides one token counter. `None`, the default: the harness can't tell, and the cases that
    /// look for leftovers are shown as ignored, with that reason.
    async fn entries(&self, space: &str) -> Option<u64> {
        let _ = space;
        None
    }

    /// A server that nobody else uses, for one case that disturbs it. `None`, the default: the
    /// harness has none, and those cases are shown as ignored, with that reason.
    ///
    /// It is asked for once per case, and dropped at the case's end: dropping it ends the server,
    /// also outside a runtime.
    ///
    /// # Panics
    ///
    /// If there should be one and it can't be started.
    async fn own_server(&self) -> Option<Arc<dyn OwnServer>> {
        None
    }

    /// What a child process of the suite finds in its environment, so that the harness that it
    /// makes there reaches the same store: say the server's address. Default: nothing.
    ///
    /// The child is this very program. It calls the `start` that [`main`](crate::main) was given,
    /// and connects in the space of the case.
    fn child_environment(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}
