use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::address::Address;
use super::error::ServerError;
use super::kind::{Kind, Unready};
use super::owned::Owned;
use super::source::Source;

/// How long a server may take until it answers.
const READY: Duration = Duration::from_secs(30);

/// How long one command may take.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// What all servers for tests have in common; each of them can be used as one.
///
/// Where it was started here, it ends when it is dropped, and with the test's process at the latest;
/// no runtime is needed for that. Its methods may be called from any runtime, and by several tasks.
pub struct Server {
    address: Address,
    socket: SocketAddr,
    owned: Option<Owned>,
}

impl Server {
    /// One that somebody else runs. It has to answer.
    pub(super) async fn named(kind: &'static Kind, url: &str) -> Result<Self, ServerError> {
        let address = Address::parse(kind, url)?;
        let socket = address.resolve().await?;
        let server = Self { address, socket, owned: None };
        server.until_ready().await?;
        Ok(server)
    }

    /// One of our own, which is started.
    pub(super) async fn started(address: Address, owned: Owned) -> Result<Self, ServerError> {
        let socket = address.resolve().await?;
        let server = Self { address, socket, owned: Some(owned) };
        server.start_again().await?;
        Ok(server)
    }

    /// The server's address with its password, as clients take it:
    /// `redis://:password@127.0.0.1:1234`.
    #[must_use]
    pub fn url(&self) -> String {
        self.address.url()
    }

    /// The same server's at another address: that of a proxy before it.
    #[must_use]
    pub fn url_at(&self, address: SocketAddr) -> String {
        self.address.at(address).url()
    }

    /// Where it listens. It stays the same when the server is started again.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.socket
    }

    /// Where it comes from.
    #[must_use]
    pub fn source(&self) -> Source {
        match &self.owned {
            None => Source::Environment,
            Some(Owned::Container(_)) => Source::Container,
            Some(Owned::Process(_)) => Source::Process,
        }
    }

    /// What a process finds in its environment so that this server is what it starts with there:
    /// [`Redis::start`](super::Redis::start), [`Postgres::start`](super::Postgres::start).
    #[must_use]
    pub fn child_environment(&self) -> Vec<(String, String)> {
        self.child_environment_at(self.socket)
    }

    /// The same server at another address: that of a proxy before it.
    #[must_use]
    pub fn child_environment_at(&self, address: SocketAddr) -> Vec<(String, String)> {
        let url = if address == self.socket { self.url() } else { self.url_at(address) };
        let source = Source::Environment.name().to_owned();
        let variable = self.kind().variable.to_owned();
        vec![(variable, url), (Source::VARIABLE.to_owned(), source)]
    }

    /// Kills it at once with all its processes, and returns when it is gone. What it hasn't written
    /// is lost.
    ///
    /// # Errors
    ///
    /// - [`ServerError::NotOurs`] if it is the environment's.
    /// - [`ServerError::Failed`] or [`ServerError::TimedOut`] if it doesn't end.
    pub async fn kill(&self) -> Result<(), ServerError> {
        self.owned("kill")?.kill().await
    }

    /// Has it end, without waiting for its clients, and returns when it has ended.
    ///
    /// # Errors
    ///
    /// As [`kill`](Self::kill).
    pub async fn stop(&self) -> Result<(), ServerError> {
        self.owned("stop")?.stop().await
    }

    /// Starts it again after [`kill`](Self::kill) or [`stop`](Self::stop), on the same port and with
    /// the data that it had on disk, and returns when it answers. One that runs goes on as it is.
    ///
    /// # Errors
    ///
    /// - [`ServerError::NotOurs`] if it is the environment's.
    /// - [`ServerError::Failed`] or [`ServerError::TimedOut`] if it doesn't start.
    pub async fn start_again(&self) -> Result<(), ServerError> {
        self.owned("start")?.start().await?;
        self.until_ready().await
    }

    /// Stops it from doing anything, with all connections open, as a machine that hangs does.
    ///
    /// # Errors
    ///
    /// - [`ServerError::NotOurs`] if it is the environment's.
    /// - [`ServerError::Failed`] if it doesn't run.
    pub async fn pause(&self) -> Result<(), ServerError> {
        self.owned("pause")?.pause().await
    }

    /// The end of [`pause`](Self::pause).
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub async fn resume(&self) -> Result<(), ServerError> {
        self.owned("resume")?.resume().await
    }

    /// Has it end by the signal QUIT, and returns when it has ended.
    pub(super) async fn quit(&self) -> Result<(), ServerError> {
        self.owned("stop")?.quit().await
    }

    pub(super) const fn kind(&self) -> &'static Kind {
        self.address.kind
    }

    /// Its address in its parts.
    pub(super) const fn parts(&self) -> &Address {
        &self.address
    }

    /// The answer to a command, unless there is none in time. `command` is what errors call it.
    pub(super) async fn answer<T>(
        &self,
        command: &str,
        asked: impl Future<Output = Result<T, String>>,
    ) -> Result<T, ServerError> {
        let answer = timeout(ANSWER, asked).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {ANSWER:?}")));
        answer.map_err(|problem| self.refused(command, problem))
    }

    /// What was answered to a command was no use.
    pub(super) fn refused(&self, command: &str, problem: String) -> ServerError {
        ServerError::Command { server: self.kind().name, command: command.to_owned(), problem }
    }

    /// Waits until it answers.
    async fn until_ready(&self) -> Result<(), ServerError> {
        let give_up = Instant::now() + READY;
        loop {
            let answer = timeout(ANSWER, (self.kind().probe)(self)).await;
            let problem = match answer {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(Unready::Refused(why))) => return Err(self.unready(&why)),
                Ok(Err(Unready::Yet(why))) => why,
                Err(_) => format!("no answer within {ANSWER:?}"),
            };
            match &self.owned {
                Some(owned) => owned.check().await?,
                // Whoever names a server says that it is there.
                None => return Err(self.unready(&problem)),
            }
            if Instant::now() > give_up {
                let (server, what) = (self.kind().name, "to answer");
                return Err(ServerError::TimedOut { server, what, within: READY });
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn unready(&self, problem: &str) -> ServerError {
        let problem = format!("{:?}: {problem}", self.address);
        ServerError::Failed { server: self.kind().name, problem }
    }

    fn owned(&self, operation: &'static str) -> Result<&Owned, ServerError> {
        let server = self.kind().name;
        self.owned.as_ref().ok_or(ServerError::NotOurs { server, operation })
    }
}

/// Without the password.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}
