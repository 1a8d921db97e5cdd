//! Clients in processes of their own.
//!
//! The suite starts its own program again as a client, tells it by lines of JSON what to do, and
//! reads by lines of JSON what came of it. `handle` is the side of the case, `client` that of the
//! process, `message` what goes between them. `wall_clock` gives a process a clock that is wrong, by what
//! `faketime` finds.

mod client;
mod faketime;
mod handle;
mod message;
mod wall_clock;

pub(crate) use client::{asked_for, serve};
pub(crate) use faketime::library as faketime;
pub use handle::Process;
pub use message::Refusal;
pub use wall_clock::WallClock;
