//! A network that fails on demand: a proxy before a server, for tests of any client over TCP.
//!
//! ```
//! # async fn run(server: std::net::SocketAddr) -> std::io::Result<()> {
//! use std::time::Duration;
//!
//! use locking_testkit::faults::{Cut, Direction, Fault, Proxy};
//!
//! let proxy = Proxy::to(server).await?;
//! // ... a client connects to `proxy.address()` instead of the server ...
//!
//! // The server does what it is asked for, and nobody hears of it.
//! proxy.inject(Fault::LoseReply { cut: Cut::Reset });
//!
//! // A slow way back, on one connection.
//! for connection in proxy.connections().into_iter().take(1) {
//!     connection.inject(Fault::Delay { direction: Direction::ToClient, by: Duration::from_millis(80) });
//! }
//!
//! proxy.restore();
//! # Ok(())
//! # }
//! ```

mod connection;
mod counts;
mod fault;
mod proxy;
mod pump;
mod rules;

pub use connection::Connection;
pub use counts::Counts;
pub use fault::{Cut, Direction, Fault, Since};
pub use proxy::Proxy;
