use std::ops::Deref;

use tokio_postgres::error::SqlState;

use super::connection::{APPLICATION, Asked, Problem, ask, execute, first_word};
use super::setup::PostgresSetup;
use crate::servers::address::Address;
use crate::servers::error::ServerError;
use crate::servers::server::Server;
use crate::servers::start;

/// The statements that were executed.
const COMMANDS: &str = "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements";

/// A PostgreSQL server for tests. What it has in common with others: [`Server`].
///
/// It ends in three ways, and is started again after each of them:
///
/// - [`stop`](Server::stop), a fast shutdown: sessions are told of it, and all data is written.
/// - [`stop_immediately`](Self::stop_immediately): idle sessions are told of it, others may not be, and
///   the next start recovers.
/// - [`kill`](Server::kill), a crash of the server with all its processes: connections end without a
///   word, and the next start recovers.
///
/// [`pause`](Server::pause) stops the processes of all sessions too.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    tls: bool,
}

impl Postgres {
    pub(super) const fn new(server: Server, tls: bool) -> Self {
        Self { server, tls }
    }

    /// The server of `LOCKING_TEST_POSTGRES_URL`, else one in a container, else one as a process.
    ///
    /// What it is set up like is known only of servers of one's own: [`PostgresSetup`].
    ///
    /// # Errors
    ///
    /// - [`ServerError::NotToBeHad`] if there is none of these, or not the one that
    ///   `LOCKING_TEST_SERVERS` forces.
    /// - [`ServerError::Variable`] if a variable can't be understood.
    /// - [`ServerError::Failed`] or [`ServerError::TimedOut`] if it doesn't start or doesn't answer.
    pub async fn start() -> Result<Self, ServerError> {
        match start::named::<PostgresSetup>().await? {
            Some(server) => Ok(Self::new(server, false)),
            None => PostgresSetup::new().start().await,
        }
    }

    /// Its address for TLS, where it was [set up](PostgresSetup::tls) with a certificate: with
    /// `sslmode=require`.
    #[must_use]
    pub fn tls_url(&self) -> Option<String> {
        let query = "sslmode=require".to_owned();
        self.tls.then(|| Address { query, ..self.parts().clone() }.url())
    }

    /// The address of another one of its databases.
    #[must_use]
    pub fn database_url(&self, name: &str) -> String {
        self.parts().with_database(name).url()
    }

    /// Has it execute SQL in the address's database, over a connection of its own. The answer is the
    /// first column as text, a row a line; null is the empty text. Several statements are one
    /// transaction.
    ///
    /// # Errors
    ///
    /// [`ServerError::Command`] if the server refuses it, can't be reached, takes longer than 10 s, or
    /// is the environment's and speaks TLS only.
    pub async fn command(&self, sql: &str) -> Result<String, ServerError> {
        execute(self, Asked { database: None, sql }).await
    }

    /// The same in another database.
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command).
    pub async fn command_in(&self, database: &str, sql: &str) -> Result<String, ServerError> {
        execute(self, Asked { database: Some(database), sql }).await
    }

    /// Creates an empty database, and answers its address.
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command).
    pub async fn create_database(&self, name: &str) -> Result<String, ServerError> {
        self.command(&format!("CREATE DATABASE {} TEMPLATE template0", identifier(name))).await?;
        Ok(self.database_url(name))
    }

    /// Has all sessions of the address's database forget the plans of what they prepared: these are made
    /// anew where they are used next. The statements themselves are forgotten with their session alone.
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command).
    pub async fn forget_plans(&self) -> Result<(), ServerError> {
        // Each plan may depend on what a schema has.
        let schema = format!("forgotten_{:016x}", fastrand::u64(..));
        self.command(&format!("CREATE SCHEMA {schema}")).await?;
        self.command(&format!("DROP SCHEMA {schema}")).await.map(drop)
    }

    /// Has it end at once, by an immediate shutdown, and returns when it has ended. What is committed
    /// stays; tables that aren't logged are empty after the next start.
    ///
    /// # Errors
    ///
    /// - [`ServerError::NotOurs`] if it is the environment's.
    /// - [`ServerError::Failed`] or [`ServerError::TimedOut`] if it doesn't end.
    pub async fn stop_immediately(&self) -> Result<(), ServerError> {
        self.server.quit().await
    }

    /// Ends the connections of clients with this application name, or of all clients. Answers how
    /// many there were; they are gone then.
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command).
    pub async fn terminate_backends(&self, application: Option<&str>) -> Result<u64, ServerError> {
        let whose = application.map_or_else(String::new, |application| {
            format!("AND application_name = {}", literal(application))
        });
        // In two steps: each is waited for, and they are to end at the same time.
        let sql = format!(
            "WITH told AS MATERIALIZED (
                 SELECT pid, pg_terminate_backend(pid) AS told FROM pg_stat_activity
                 WHERE {} {whose})
             SELECT count(pg_terminate_backend(pid, 5000)) FROM told WHERE told",
            clients()
        );
        self.number(&sql).await
    }

    /// How many connections of clients there are, besides those of this handle.
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command).
    pub async fn connections(&self) -> Result<u64, ServerError> {
        self.number(&format!("SELECT count(*) FROM pg_stat_activity WHERE {}", clients())).await
    }

    /// How many statements of clients it has executed since it was started, in all databases: those
    /// that `pg_stat_statements` has counted. `BEGIN`, `COMMIT`, `SET` and `LISTEN` are statements,
    /// each execution of a prepared one is one, and preparing it is none. What failed isn't counted,
    /// and what still runs isn't yet; what functions execute is with the
    /// [setting](PostgresSetup::setting) `pg_stat_statements.track` `all`.
    ///
    /// The question itself is one of them, and so is what else this handle asked for.
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command). A server of the environment's needs the library
    /// `pg_stat_statements`, and an account that may create the extension or may see it.
    pub async fn commands(&self) -> Result<u64, ServerError> {
        let asked = || ask(self, Asked { database: None, sql: COMMANDS });
        let question = async {
            match asked().await {
                Err(problem) if problem.code() == Some(&SqlState::UNDEFINED_TABLE) => {
                    let sql = "CREATE EXTENSION IF NOT EXISTS pg_stat_statements";
                    ask(self, Asked { database: None, sql }).await?;
                    asked().await
                }
                other => other,
            }
        };
        let answer = self.answer(first_word(COMMANDS), async {
            question.await.map_err(|problem: Problem| problem.to_string())
        });
        self.parsed(COMMANDS, &answer.await?)
    }

    async fn number(&self, sql: &str) -> Result<u64, ServerError> {
        let answer = self.command(sql).await?;
        self.parsed(sql, &answer)
    }

    fn parsed(&self, sql: &str, answer: &str) -> Result<u64, ServerError> {
        answer.parse().map_err(|_| {
            self.refused(first_word(sql), format!("there is no number in the answer: {answer}"))
        })
    }
}

impl Deref for Postgres {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// Sessions of clients, as a condition: not our own, of which one may be about to end.
fn clients() -> String {
    format!("backend_type = 'client backend' AND application_name <> '{APPLICATION}'")
}

/// A text in SQL.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name in SQL.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
