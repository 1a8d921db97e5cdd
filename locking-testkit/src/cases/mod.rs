//! The cases, by topic. A case gets a fixture, panics where the contract is broken, and knows no
//! provider.

pub(crate) mod black_holes;
pub(crate) mod cancellation;
pub(crate) mod claims;
pub(crate) mod closing;
mod count_file;
pub(crate) mod exclusion;
pub(crate) mod execute;
pub(crate) mod expiry;
pub(crate) mod extend;
pub(crate) mod fencing;
pub(crate) mod guard;
pub(crate) mod hangs;
pub(crate) mod histories;
pub(crate) mod inspection;
pub(crate) mod lost_replies;
pub(crate) mod names;
pub(crate) mod notifications;
pub(crate) mod processes;
pub(crate) mod races;
pub(crate) mod recovery;
pub(crate) mod reentry;
pub(crate) mod release;
pub(crate) mod release_all;
pub(crate) mod resets;
pub(crate) mod resources;
pub(crate) mod restarts;
pub(crate) mod secrets;
pub(crate) mod several;
pub(crate) mod soak;
pub(crate) mod takeover;
mod trial;
pub(crate) mod waiting;
pub(crate) mod wrong_clocks;
