//! The PostgreSQL provider of `locking`.

// Until the provider is there that calls it.
#![allow(dead_code)]

mod connect;
mod connection;
mod failure;
mod options;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod verification;

pub use crate::options::{PoolOptions, PostgresOptions, TakeoverOptions, TlsMode, TlsOptions};
