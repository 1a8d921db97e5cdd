use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::key::LockKey;
use crate::owner::OwnerId;
use crate::request::HoldKind;
use crate::token::FencingToken;

/// Who holds a key, as [`inspect`](crate::LockingProvider::inspect) and
/// [`list`](crate::LockingProvider::list) tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LockInfo {
    /// The key.
    pub key: LockKey,
    /// Who holds it; `None` for an anonymous holder.
    pub owner: Option<OwnerId>,
    /// The token of the hold.
    pub token: FencingToken,
    /// Whether it is a lease of `acquire`, or a guard's or job's.
    pub kind: HoldKind,
    /// The time left until it expires, never more than was asked for; `None` if it doesn't.
    pub expires_in: Option<Duration>,
    /// How many requests wait for the key; `None` where the store doesn't know.
    pub waiters: Option<usize>,
}

impl LockInfo {
    /// What is known of every hold.
    #[must_use]
    pub const fn new(key: LockKey, token: FencingToken, kind: HoldKind) -> Self {
        Self { key, owner: None, token, kind, expires_in: None, waiters: None }
    }

    /// The same with its owner.
    #[must_use]
    pub fn with_owner(self, owner: Option<OwnerId>) -> Self {
        Self { owner, ..self }
    }

    /// The same with the time left.
    #[must_use]
    pub fn with_expires_in(self, expires_in: Option<Duration>) -> Self {
        Self { expires_in, ..self }
    }

    /// The same with the number of requests that wait for the key.
    #[must_use]
    pub fn with_waiters(self, waiters: usize) -> Self {
        Self { waiters: Some(waiters), ..self }
    }
}
