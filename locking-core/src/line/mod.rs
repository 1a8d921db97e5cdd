//! The in-process layer before a store that keeps a queue of its waiters.
//!
//! Tasks of one process stand in one *line* per key, first come, first served. Only the line stands
//! in the store's queue, with one request, however many tasks wait. A guard whose key others in the
//! process wait for passes it on inside the line, without I/O, a bounded number of times; then it goes
//! back to the store, where other processes have their turn, unless nobody else waits there.
//!
//! A provider brings the store's side, a [`LineStore`]: one command to ask, one to withdraw, one each to
//! extend and to release, and one to rename a hold that was passed on; if it likes,
//! [`release_or_keep`](LineStore::release_or_keep); and a call of [`Lines::notice`] for what the store tells
//! it. [`Lines`] does the rest: waiting, deadlines, lost notices and lost answers, cancellation at any await
//! point, hand-off inside the process.
//!
//! # Example
//!
//! How a provider's methods lie on top of it (`RedisProvider` in `locking-redis` is one):
//!
//! | method of the provider | call |
//! |---|---|
//! | `acquire` | [`Lines::acquire`] |
//! | `release_now` | [`Lines::pass_on`] |
//! | `release_lease` | [`Lines::release_lease`] |
//! | `extend` | [`Lines::extend`] |
//! | `inspect`, `list` | the store's own, then [`Lines::named`] |
//! | `close` | [`Lines::close`] |

mod agent;
mod ask;
mod background;
mod direct;
mod held;
mod leases;
mod lines;
mod place;
mod queue;
mod revoked;
mod several;
mod stake;
mod store;
mod undo;

pub use self::ask::{Answer, Ask, AskId, Blocked, ClientId, Manner};
pub use self::lines::{Lines, Notice};
pub use self::store::LineStore;
