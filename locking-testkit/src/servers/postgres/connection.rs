use tokio::net::TcpStream;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

use super::POSTGRES;
use crate::servers::error::ServerError;
use crate::servers::kind::{Probe, Unready};
use crate::servers::server::{ANSWER, Server};

/// The name of our own connections, which are not counted and not ended.
pub(super) const APPLICATION: &str = "locking-test-servers";

/// How sessions fail that are not to be had later either.
const NEVER: [SqlState; 4] = [
    SqlState::INVALID_PASSWORD,
    SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
    SqlState::INVALID_CATALOG_NAME,
    SqlState::PROTOCOL_VIOLATION,
];

/// What is asked for over a connection of its own: in the address's database, or in another one.
pub(in crate::servers) struct Asked<'a> {
    pub(in crate::servers) database: Option<&'a str>,
    pub(in crate::servers) sql: &'a str,
}

/// Why there is no answer.
pub(in crate::servers) enum Problem {
    Unsupported,
    Failed(Error),
}

/// Has a server execute statements, as [`ask`] does. Errors show no more than the first word: there
/// may be a password in the rest.
pub(in crate::servers) async fn execute(
    server: &Server,
    asked: Asked<'_>,
) -> Result<String, ServerError> {
    let word = first_word(asked.sql);
    let answer = async { ask(server, asked).await.map_err(|problem| problem.to_string()) };
    server.answer(word, answer).await
}

pub(super) fn first_word(sql: &str) -> &str {
    sql.split_whitespace().next().unwrap_or_default()
}

/// Has a server execute statements. The answer is the first column of all rows, as lines.
pub(in crate::servers) async fn ask(server: &Server, asked: Asked<'_>) -> Result<String, Problem> {
    if is_tls(server) {
        return Err(Problem::Unsupported);
    }
    let (client, connection) = config(server, asked.database).connect(NoTls).await?;
    // The connection ends by itself when there is no client any more.
    let (answer, _) = tokio::join!(answered(client, asked.sql), connection);
    Ok(answer?)
}

async fn answered(client: Client, sql: &str) -> Result<String, Error> {
    let answer = client.simple_query(sql).await?;
    let rows = answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.try_get(0).ok().flatten().unwrap_or_default()),
        _ => None,
    });
    Ok(rows.collect::<Vec<_>>().join("\n"))
}

fn config(server: &Server, database: Option<&str>) -> Config {
    let (address, socket) = (server.parts(), server.address());
    let user = if address.user.is_empty() { POSTGRES } else { &address.user };
    let mut config = Config::new();
    config.host(socket.ip().to_string()).port(socket.port()).user(user);
    config.application_name(APPLICATION).connect_timeout(ANSWER);
    if let Some(password) = &address.password {
        config.password(password);
    }
    match database.map(str::to_owned).or_else(|| address.database()) {
        Some(database) => config.dbname(database),
        None => config.dbname(user),
    };
    config
}

/// Whether it is to be spoken to by TLS alone.
pub(in crate::servers) fn is_tls(server: &Server) -> bool {
    let mode = server.parts().parameter("sslmode");
    matches!(mode, Some("require" | "verify-ca" | "verify-full"))
}

/// Whether it answers.
pub(super) fn probe(server: &Server) -> Probe<'_> {
    Box::pin(async move {
        if is_tls(server) {
            let connected = TcpStream::connect(server.address()).await;
            return connected.map(drop).map_err(|error| Unready::Yet(error.to_string()));
        }
        let answer = ask(server, Asked { database: None, sql: "SELECT 1" }).await;
        answer.map(drop).map_err(Problem::into_unready)
    })
}

impl Problem {
    pub(in crate::servers) fn into_unready(self) -> Unready {
        match &self {
            Self::Failed(error) if error.code().is_some_and(|code| NEVER.contains(code)) => {
                Unready::Refused(self.to_string())
            }
            _ => Unready::Yet(self.to_string()),
        }
    }

    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Unsupported => None,
            Self::Failed(error) => error.code(),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsupported => f.write_str("it speaks TLS only"),
            Self::Failed(error) => match (error.as_db_error(), std::error::Error::source(error)) {
                (Some(answer), _) => write!(f, "{} ({})", answer.message(), answer.code().code()),
                (None, Some(cause)) => write!(f, "{error}: {cause}"),
                (None, None) => error.fmt(f),
            },
        }
    }
}
