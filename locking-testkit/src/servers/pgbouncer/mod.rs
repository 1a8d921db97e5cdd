mod handle;
mod setup;
mod start;

pub use handle::PgBouncer;
pub use setup::PgBouncerSetup;

use super::kind::Kind;
use super::postgres;

pub(super) const KIND: Kind =
    Kind { name: "PgBouncer", port: 6432, probe: handle::probe, ..postgres::KIND };

/// The database that isn't one, but PgBouncer's own.
const CONSOLE: &str = "pgbouncer";
