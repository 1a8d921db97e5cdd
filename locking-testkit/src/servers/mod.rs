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
//!
//! Servers started here listen on 127.0.0.1 alone, and end with their handle. They also end with the
//! test's process, however it ends: a *leash*, a small `sh` that reads from a pipe, ends the server
//! when the test's end of the pipe is gone.

mod container;
mod error;
mod owned;
mod port;
mod process;
mod program;
mod redis;
mod source;

pub use error::ServerError;
pub use redis::{Redis, RedisSetup};
pub use source::Source;
