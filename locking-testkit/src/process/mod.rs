//! Clients in processes of their own.
//!
//! The suite starts its own program again as a client, tells it by lines of JSON what to do, and
//! reads by lines of JSON what came of it. `handle` is the side of the case, `client` that of the
//! process, `message` what goes between them.

mod client;
mod handle;
mod message;

pub(crate) use client::{asked_for, serve};
pub use handle::Process;
pub use message::Refusal;
