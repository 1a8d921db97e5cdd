//! Servers for tests: the one that you name, a container, or a private process.
//!
//! A test never passes because there was no server: what can't be had is an error that says what was
//! tried, and what to install or to set.
//!
//! | variable | what it does |
//! |---|---|
//! | `LOCKING_TEST_SERVERS` | `env`, `container` or `process`: only that source. Unset: the first that works, in this order |
//! | `LOCKING_TEST_REDIS_URL` | the Redis server to use, such as `redis://127.0.0.1:6379` |
//! | `LOCKING_TEST_REDIS_IMAGE` | the image of containers; default `redis:7` |
//! | `LOCKING_TEST_POSTGRES_URL` | the PostgreSQL server to use, such as `postgres://postgres@127.0.0.1:5432/postgres` |
//! | `LOCKING_TEST_POSTGRES_IMAGE` | the image of containers; default `postgres:16` |
//! | `LOCKING_TEST_RUN` | the value of the label `io.github.locking-rs.testkit` of containers: those of one run are found by it; default `1` |
//!
//! Servers started here listen on 127.0.0.1 alone, and end with their handle. They also end with the
//! test's process, however it ends: a *leash*, a small `sh` that reads from a pipe, ends the server
//! when the test's end of the pipe is gone. Another one removes the server's folder.
//!
//! A server that is named keeps what tests leave on it: schemas, and leases that never expire.

mod account;
mod address;
mod container;
mod error;
mod folder;
mod kind;
mod owned;
mod pgbouncer;
mod port;
mod postgres;
mod process;
mod program;
mod redis;
mod server;
mod source;
mod start;

pub use error::ServerError;
pub use pgbouncer::{PgBouncer, PgBouncerSetup};
pub use postgres::{Postgres, PostgresSetup};
pub use redis::{Redis, RedisSetup};
pub use server::Server;
pub use source::Source;
