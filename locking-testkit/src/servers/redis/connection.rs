use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy, sink};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::servers::address::Address;

/// No answer of a server under test is longer; more is a mistake.
const LONGEST: u64 = 64 << 20;

/// As much of a client as a test needs to start a server and to look into it: a connection for one
/// command.
pub(super) struct Connection(BufReader<TcpStream>);

/// A server's answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Text(String),
    /// Refused, with the server's words.
    Refused(String),
    List(Vec<Answer>),
    Nothing,
}

impl Connection {
    /// Connected and logged in.
    pub(super) async fn open(socket: SocketAddr, address: &Address) -> io::Result<Self> {
        let mut connection = Self(BufReader::new(TcpStream::connect(socket).await?));
        if let Some(password) = &address.password {
            let user = if address.user.is_empty() { "default" } else { &address.user };
            if let Answer::Refused(why) = connection.ask(&["AUTH", user, password]).await? {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
            }
        }
        Ok(connection)
    }

    pub(super) async fn ask(&mut self, words: &[&str]) -> io::Result<Answer> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.0.write_all(request.as_bytes()).await?;
        self.answer().await
    }

    /// Ends it, and waits until the server has seen that: who counts connections next doesn't find
    /// this one.
    pub(super) async fn end(mut self) {
        const LIMIT: Duration = Duration::from_secs(1);
        let ended = async {
            self.0.get_mut().shutdown().await?;
            copy(&mut self.0, &mut sink()).await
        };
        // A server that is gone counts no connections.
        let _ = timeout(LIMIT, ended).await;
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        let mut line = String::new();
        if self.0.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1).ok_or(io::ErrorKind::InvalidData)?;
        let length = || rest.parse::<i64>().map_err(io::Error::other);
        Ok(match kind {
            "+" | ":" => Answer::Text(rest.to_owned()),
            "-" => Answer::Refused(rest.to_owned()),
            "$" => match u64::try_from(length()?) {
                Err(_) => Answer::Nothing,
                Ok(length) => Answer::Text(self.text(length).await?),
            },
            "*" => {
                let mut list = Vec::new();
                for _ in 0..length()? {
                    list.push(Box::pin(self.answer()).await?);
                }
                Answer::List(list)
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }

    async fn text(&mut self, length: u64) -> io::Result<String> {
        if length > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = Vec::new();
        (&mut self.0).take(length + 2).read_to_end(&mut bytes).await?;
        bytes.truncate(bytes.len().saturating_sub(2));
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Answer {
    /// The answer as text; a list as lines.
    pub(super) fn into_text(self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Refused(why) => Err(why),
            Self::Nothing => Ok(String::new()),
            Self::List(list) => {
                let lines = list.into_iter().map(Self::into_text);
                Ok(lines.collect::<Result<Vec<_>, _>>()?.join("\n"))
            }
        }
    }
}
