use std::net::SocketAddr;
use std::sync::Arc;

use locking_core::{LockingProvider, async_trait};

/// The server of a store, as far as a suite may disturb it.
///
/// Every method panics when it fails: what a case sees afterwards would prove nothing.
#[async_trait]
pub trait OwnServer: Send + Sync {
    /// Where it listens, also after [`start_again`](Self::start_again): a fault proxy goes before
    /// it.
    fn address(&self) -> SocketAddr;

    /// An independent client in this space, by the promises of
    /// [`Harness::connect`](crate::Harness::connect).
    ///
    /// It is connected to `address`: the server's own, or that of a proxy before it.
    async fn connect(&self, space: &str, address: SocketAddr) -> Arc<dyn LockingProvider>;

    /// What a child process of the suite finds in its environment, so that its harness reaches this
    /// server at `address`: its own, or that of a proxy before it.
    fn child_environment(&self, address: SocketAddr) -> Vec<(String, String)>;

    /// Ends the server. Its data stays as far as the store keeps it over such an end.
    async fn stop(&self, how: Stop);

    /// Starts it again where it listened before, with what it kept, and returns when it answers.
    async fn start_again(&self);

    /// Stops it from answering, with all connections left open, as a machine that hangs does.
    async fn pause(&self);

    /// The end of [`pause`](Self::pause).
    async fn resume(&self);

    /// Makes the server forget what clients may have prepared on it: scripts, statements.
    async fn forget_prepared(&self);

    /// Ends every connection over which clients are notified, and nothing else.
    async fn cut_notifications(&self);

    /// How many commands it has executed since it was started: statements, or whatever clients and
    /// their scripts have it do. What this question costs is counted too: the same each time.
    async fn commands(&self) -> u64;

    /// How many connections of clients there are, besides the one of this question.
    async fn connections(&self) -> u64;

    /// What its clients log in with, and nobody is to read: passwords. They are in what
    /// [`connect`](Self::connect) uses, also where the server asks for none. Default: none, and the case
    /// that looks for them is shown as ignored, with that reason.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }

    /// How many entries of any kind the store keeps for this space, besides one token counter.
    /// `None`: it can't be told.
    async fn entries(&self, space: &str) -> Option<u64>;
}

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// As its operators end it: with its farewell to clients, and its data written.
    Clean,
    /// At once and without any farewell, as a crash ends it.
    Crash,
}
