use std::fmt;

use serde::{Deserialize, Serialize};

/// A number that comes with every key of a lease and grows with each new holder of that key.
///
/// Send it along with every access to what the lock protects, the first read included, and let the
/// protected resource refuse a number smaller than one that it has seen: that stops a holder which was
/// paused past its lease and doesn't know it yet. Described by Martin Kleppmann in "How to do distributed locking" (2016).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FencingToken(u64);

impl FencingToken {
    /// The token of this value.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The value to send to the protected resource.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<FencingToken> for u64 {
    fn from(token: FencingToken) -> Self {
        token.0
    }
}
