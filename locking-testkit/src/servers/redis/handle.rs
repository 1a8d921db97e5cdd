use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::address::Address;
use super::connection::{Answer, Connection};
use super::{NAME, URL, start};
use crate::servers::error::ServerError;
use crate::servers::owned::Owned;
use crate::servers::source::Source;

/// How long a server may take until it answers.
const READY: Duration = Duration::from_secs(30);

/// How long one command may take.
const ANSWER: Duration = Duration::from_secs(10);

/// A Redis server for tests.
///
/// Where it was started here, it ends when it is dropped, and with the test's process at the latest;
/// no runtime is needed for that. Its methods may be called from any runtime, and by several tasks.
pub struct Redis {
    address: Address,
    socket: SocketAddr,
    tls: Option<SocketAddr>,
    owned: Option<Owned>,
}

impl Redis {
    pub(super) const fn new(
        address: Address,
        socket: SocketAddr,
        tls: Option<SocketAddr>,
        owned: Option<Owned>,
    ) -> Self {
        Self { address, socket, tls, owned }
    }

    /// The server of `LOCKING_TEST_REDIS_URL`, else one in a container, else one as a process.
    ///
    /// What it is set up like is known only of servers of one's own:
    /// [`RedisSetup`](super::RedisSetup).
    ///
    /// # Errors
    ///
    /// - [`ServerError::NotToBeHad`] if there is none of these, or not the one that
    ///   `LOCKING_TEST_SERVERS` forces.
    /// - [`ServerError::Variable`] if a variable can't be understood.
    /// - [`ServerError::Failed`] or [`ServerError::TimedOut`] if it doesn't start or doesn't answer.
    pub async fn start() -> Result<Self, ServerError> {
        start::any().await
    }

    /// The server's address with its password, as clients take it: `redis://:password@127.0.0.1:1234`.
    #[must_use]
    pub fn url(&self) -> String {
        self.address.url()
    }

    /// The same server's at another address: that of a proxy before it.
    #[must_use]
    pub fn url_at(&self, address: SocketAddr) -> String {
        self.address.at(address).url()
    }

    /// Its address for TLS, where it was [set up](super::RedisSetup::tls) with a certificate:
    /// `rediss://127.0.0.1:1234`.
    #[must_use]
    pub fn tls_url(&self) -> Option<String> {
        let tls = self.tls?;
        Some(Address { tls: true, ..self.address.at(tls) }.url())
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

    /// What a process finds in its environment so that [`Redis::start`] finds this server there.
    #[must_use]
    pub fn child_environment(&self) -> Vec<(String, String)> {
        self.child_environment_at(self.socket)
    }

    /// The same server at another address: that of a proxy before it.
    #[must_use]
    pub fn child_environment_at(&self, address: SocketAddr) -> Vec<(String, String)> {
        let url = if address == self.socket { self.url() } else { self.url_at(address) };
        let source = Source::Environment.name().to_owned();
        vec![(URL.to_owned(), url), (Source::VARIABLE.to_owned(), source)]
    }

    /// Kills it at once, and returns when it is gone. What it hasn't written is lost.
    ///
    /// # Errors
    ///
    /// - [`ServerError::NotOurs`] if it is the environment's.
    /// - [`ServerError::Failed`] or [`ServerError::TimedOut`] if it doesn't end.
    pub async fn kill(&self) -> Result<(), ServerError> {
        self.owned("kill")?.kill().await
    }

    /// Has it end, and returns when it has ended.
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

    /// Has it execute a command, over a connection of its own. The answer is text: a number's digits,
    /// a list's entries as lines, nothing as the empty text.
    ///
    /// # Errors
    ///
    /// [`ServerError::Command`] if the server refuses it, can't be reached, takes longer than 10 s, or
    /// is the environment's and speaks TLS only.
    pub async fn command(&self, words: &[&str]) -> Result<String, ServerError> {
        let asked = async {
            self.ask(words).await.map_err(|error| error.to_string()).and_then(Answer::into_text)
        };
        let answer = timeout(ANSWER, asked).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {ANSWER:?}")));
        answer.map_err(|problem| ServerError::Command {
            server: NAME,
            command: (*words.first().unwrap_or(&"")).to_owned(),
            problem,
        })
    }

    /// Has it forget all scripts.
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command).
    pub async fn forget_scripts(&self) -> Result<(), ServerError> {
        self.command(&["SCRIPT", "FLUSH"]).await.map(drop)
    }

    /// Ends the connections of those who subscribe to channels. Answers how many there were.
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command).
    pub async fn cut_subscribers(&self) -> Result<u64, ServerError> {
        self.number(&["CLIENT", "KILL", "TYPE", "pubsub"], |answer| answer.parse().ok()).await
    }

    /// How many commands it has executed since it was started, those that scripts call not counted.
    /// The question itself is one of them, and with a password the login is.
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command).
    pub async fn commands(&self) -> Result<u64, ServerError> {
        let count = |answer: &str| {
            let lines = answer.lines();
            lines
                .filter_map(|line| line.strip_prefix("total_commands_processed:"))
                .next()?
                .parse()
                .ok()
        };
        self.number(&["INFO", "stats"], count).await
    }

    /// How many connections of clients there are, besides the one of this question.
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command).
    pub async fn connections(&self) -> Result<u64, ServerError> {
        let count = |answer: &str| {
            let lines = answer.lines();
            let all = lines.filter_map(|line| line.strip_prefix("connected_clients:")).next()?;
            all.parse::<u64>().ok()?.checked_sub(1)
        };
        self.number(&["INFO", "clients"], count).await
    }

    async fn number(
        &self,
        words: &[&str],
        read: impl Fn(&str) -> Option<u64>,
    ) -> Result<u64, ServerError> {
        let answer = self.command(words).await?;
        read(&answer).ok_or_else(|| ServerError::Command {
            server: NAME,
            command: words.join(" "),
            problem: format!("there is no number in the answer: {answer}"),
        })
    }

    async fn ask(&self, words: &[&str]) -> io::Result<Answer> {
        if self.address.tls {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "it speaks TLS only"));
        }
        Connection::open(self.socket, &self.address).await?.ask(words).await
    }

    /// Waits until it answers.
    pub(super) async fn until_ready(&self) -> Result<(), ServerError> {
        let give_up = Instant::now() + READY;
        loop {
            let answer = timeout(ANSWER, self.is_ready()).await;
            let problem = match answer {
                Ok(Ok(true)) => return Ok(()),
                Ok(Ok(false)) => "it loads its data".to_owned(),
                Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(self.unready(&error.to_string()));
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {ANSWER:?}"),
            };
            match &self.owned {
                Some(owned) => owned.check().await?,
                // Whoever names a server says that it is there.
                None => return Err(self.unready(&problem)),
            }
            if Instant::now() > give_up {
                let what = "to answer";
                return Err(ServerError::TimedOut { server: NAME, what, within: READY });
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn is_ready(&self) -> io::Result<bool> {
        if self.address.tls {
            return TcpStream::connect(self.socket).await.map(|_| true);
        }
        match self.ask(&["PING"]).await? {
            // Whoever set it up knows who may ask.
            Answer::Refused(why) => Ok(why.starts_with("NOAUTH") || why.starts_with("NOPERM")),
            _ => Ok(true),
        }
    }

    fn unready(&self, problem: &str) -> ServerError {
        ServerError::Failed { server: NAME, problem: format!("{:?}: {problem}", self.address) }
    }

    fn owned(&self, operation: &'static str) -> Result<&Owned, ServerError> {
        self.owned.as_ref().ok_or(ServerError::NotOurs { server: NAME, operation })
    }
}

/// Without the password.
impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("address", &self.address).finish_non_exhaustive()
    }
}
