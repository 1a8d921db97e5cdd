//! The PostgreSQL provider of `locking`.

// Until the provider is there that calls it.
#![allow(dead_code)]

mod connect;
mod connection;
mod failure;
mod migrate;
mod options;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod verification;

pub use crate::migrate::MIGRATIONS;
pub use crate::options::{PoolOptions, PostgresOptions, TakeoverOptions, TlsMode, TlsOptions};
