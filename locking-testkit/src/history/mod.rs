//! Random concurrent work, recorded, and judged against the contract's definition of a violation.
//!
//! A [`Workload`] lets many clients acquire, extend, release, abandon and cancel at random, and
//! records what each of them could prove at the time: since when and until when its hold was valid,
//! and under which token. [`check`] finds two holds of one key that were valid at one moment, tokens
//! out of order, and a valid holder whom the fenced resource refused. It assumes nothing of the
//! provider but its contract, so it serves under faults too.

mod check;
mod hold;
mod workload;

pub use self::check::{Violation, check};
pub use self::hold::{History, HoldRecord};
pub use self::workload::Workload;
