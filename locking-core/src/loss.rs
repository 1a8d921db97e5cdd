use std::fmt;
use std::sync::Arc;

use crate::latch::Latch;

/// Why a hold is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LossReason {
    /// Its lease ended: no renewal came through in time, or the store says that it is over.
    Expired,
    /// Somebody took it away: a `release_all` that includes what runs.
    Revoked,
    /// The session with the store that carried it ended.
    SessionEnded,
    /// The module was closed and its deadline passed.
    Closed,
    /// It didn't end early: its holder gave it back.
    Released,
}

impl LossReason {
    const fn code(self) -> u8 {
        match self {
            Self::Expired => 1,
            Self::Revoked => 2,
            Self::SessionEnded => 3,
            Self::Closed => 4,
            Self::Released => 5,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Expired),
            2 => Some(Self::Revoked),
            3 => Some(Self::SessionEnded),
            4 => Some(Self::Closed),
            5 => Some(Self::Released),
            _ => None,
        }
    }
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "its lease ended",
            Self::Revoked => "it was released by force",
            Self::SessionEnded => "the session that carried it ended",
            Self::Closed => "the module was closed",
            Self::Released => "it was given back",
        })
    }
}

/// How a provider tells a guard, at once, that its hold is gone.
///
/// A guard's request carries one ([`Hold::Guard`](crate::Hold::Guard)). A provider that learns of
/// the end of a hold by itself, because its own table, a notice or a closed session says so, keeps
/// a clone beside the hold and calls [`signal`](Self::signal). One that doesn't ignores it: the
/// guard then learns of the loss at its next renewal.
#[derive(Clone, Debug, Default)]
pub struct LossSignal(Arc<Latch>);

impl LossSignal {
    /// A signal that nobody has given yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that the hold is gone. The first reason counts; answers whether this was it.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn signal(&self, reason: LossReason) -> bool {
        self.0.set(reason.code())
    }

    /// Why the hold is gone, if it was said.
    #[must_use]
    pub fn reason(&self) -> Option<LossReason> {
        LossReason::from_code(self.0.get())
    }

    /// Waits until the signal is given. Cancellation safe.
    pub async fn wait(&self) -> LossReason {
        LossReason::from_code(self.0.wait().await).unwrap_or(LossReason::Expired)
    }
}
