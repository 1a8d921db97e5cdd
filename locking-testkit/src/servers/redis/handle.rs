use std::io;
use std::net::SocketAddr;
use std::ops::Deref;

use tokio::net::TcpStream;

use super::TLS;
use super::connection::{Answer, Connection};
use super::setup::RedisSetup;
use crate::servers::address::Address;
use crate::servers::error::ServerError;
use crate::servers::kind::{Probe, Unready};
use crate::servers::server::Server;
use crate::servers::start;

/// A Redis server for tests. What it has in common with others: [`Server`].
#[derive(Debug)]
pub struct Redis {
    server: Server,
    tls: Option<SocketAddr>,
}

impl Redis {
    pub(super) const fn new(server: Server, tls: Option<SocketAddr>) -> Self {
        Self { server, tls }
    }

    /// The server of `LOCKING_TEST_REDIS_URL`, else one in a container, else one as a process.
    ///
    /// What it is set up like is known only of servers of one's own: [`RedisSetup`].
    ///
    /// # Errors
    ///
    /// - [`ServerError::NotToBeHad`] if there is none of these, or not the one that
    ///   `LOCKING_TEST_SERVERS` forces.
    /// - [`ServerError::Variable`] if a variable can't be understood.
    /// - [`ServerError::Failed`] or [`ServerError::TimedOut`] if it doesn't start or doesn't answer.
    pub async fn start() -> Result<Self, ServerError> {
        match start::named::<RedisSetup>().await? {
            Some(server) => Ok(Self::new(server, None)),
            None => RedisSetup::new().start().await,
        }
    }

    /// Its address for TLS, where it was [set up](RedisSetup::tls) with a certificate:
    /// `rediss://127.0.0.1:1234`.
    #[must_use]
    pub fn tls_url(&self) -> Option<String> {
        Some(Address { scheme: TLS, ..self.parts().at(self.tls?) }.url())
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
            let answer = ask(self, words).await.map_err(|error| error.to_string());
            answer.and_then(Answer::into_text)
        };
        self.answer(words.first().unwrap_or(&""), asked).await
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

    /// How many commands it has executed since it was started, those that scripts call counted too:
    /// the calls of `INFO commandstats`. The question itself is one of them, and with a password the
    /// login is.
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command).
    pub async fn commands(&self) -> Result<u64, ServerError> {
        self.number(&["INFO", "commandstats"], calls).await
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
        read(&answer).ok_or_else(|| {
            self.refused(&words.join(" "), format!("there is no number in the answer: {answer}"))
        })
    }
}

impl Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// The sum of all `cmdstat_get:calls=3,usec=…`. A server that was asked nothing yet has none.
fn calls(statistics: &str) -> Option<u64> {
    let commands = statistics.lines().filter(|line| line.starts_with("cmdstat_"));
    let calls = commands.map(|command| {
        let (_, figures) = command.split_once(":calls=")?;
        figures.split(',').next()?.parse::<u64>().ok()
    });
    calls.sum()
}

async fn ask(server: &Server, words: &[&str]) -> io::Result<Answer> {
    if server.parts().scheme == TLS {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "it speaks TLS only"));
    }
    let mut connection = Connection::open(server.address(), server.parts()).await?;
    let answer = connection.ask(words).await;
    connection.end().await;
    answer
}

/// Whether it answers.
pub(super) fn probe(server: &Server) -> Probe<'_> {
    Box::pin(async move {
        let answer = if server.parts().scheme == TLS {
            TcpStream::connect(server.address()).await.map(|_| Answer::Nothing)
        } else {
            ask(server, &["PING"]).await
        };
        match answer {
            // Whoever set it up knows who may ask.
            Ok(Answer::Refused(why)) if why.starts_with("NOAUTH") || why.starts_with("NOPERM") => {
                Ok(())
            }
            Ok(Answer::Refused(why)) => Err(Unready::Yet(why)),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(Unready::Refused(error.to_string()))
            }
            Err(error) => Err(Unready::Yet(error.to_string())),
        }
    })
}
