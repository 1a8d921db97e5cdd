mod connection;
mod handle;
mod programs;
mod setup;
mod start;
mod template;

pub use handle::Postgres;
pub use setup::PostgresSetup;

pub(super) use connection::{Asked, Problem, ask, execute, is_tls};

use super::kind::Kind;

pub(super) const KIND: Kind = Kind {
    name: "PostgreSQL",
    variable: "LOCKING_TEST_POSTGRES_URL",
    schemes: &[("postgres", "postgres"), ("postgresql", "postgres")],
    example: "`postgres://user:password@127.0.0.1:5432/database`",
    port: 5432,
    probe: connection::probe,
};

/// The account of the server's, and its database, of those that are started here.
const POSTGRES: &str = "postgres";
