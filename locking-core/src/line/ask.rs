use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use smol_str::SmolStr;

use crate::backoff::Backoff;
use crate::grant::Grant;
use crate::key::LockKey;
use crate::owner::{self, OwnerId};
use crate::request::AcquireRequest;
use crate::token::FencingToken;

/// One client of a store, unlike every other: 16 letters and digits, drawn at random.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientId([u8; ClientId::LEN]);

impl ClientId {
    /// The length of its text in bytes.
    pub const LEN: usize = owner::PROCESS_LEN;

    /// A client that nobody else is.
    #[must_use]
    pub fn fresh() -> Self {
        Self(owner::process_part())
    }

    /// Its text.
    ///
    /// # Panics
    ///
    /// Never: it is ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Digits are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names one acquisition at the store, so that asking twice is asking once: the text of its
/// [`ClientId`] and a count, letters and digits.
#[derive(Clone, PartialEq, Eq)]
pub struct AskId(SmolStr);

impl AskId {
    pub(super) fn next(client: &ClientId, count: &AtomicU64) -> Self {
        let number = count.fetch_add(1, Ordering::Relaxed);
        Self(owner::numbered(&client.0, number, &mut [0; owner::BUFFER]).into())
    }

    /// Its text: the first [`ClientId::LEN`] bytes name the client.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// An acquisition, as a store is asked for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ask {
    /// Its name at the store.
    pub id: AskId,
    /// Keys, owner, expiry and kind of hold. How long it waits is no matter of the store's.
    pub request: AcquireRequest,
    /// How many tokens above the granted one the store keeps free for this hold: those to whom it is
    /// passed on inside the process are holders of their own.
    pub spare_tokens: u64,
}

/// How a store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Manner {
    /// For the keys as they are now: a refusal leaves nothing at the store.
    Once,
    /// For a place in the queue, at its end, if the keys aren't free.
    Queue,
    /// Once more, after [`Queue`](Self::Queue): with the same place. What an earlier ask was granted is
    /// answered as granted, and confirmed: its whole expiry counts from now. An ask that lost its place
    /// (the grant came while its client couldn't hear it) is first in the queue.
    Again,
    /// Only if its owner holds the keys by a lease already. Nothing is taken.
    Reenter,
}

/// What a store answers.
#[derive(Debug)]
#[non_exhaustive]
pub enum Answer {
    /// The keys are held. From when it counts is no matter of the store's.
    Granted(Grant),
    /// Somebody else holds one of them.
    Blocked(Blocked),
    /// The store takes nothing for this ask any more: what it was granted is over, or its session is. Whoever
    /// still wants the keys asks anew, under another name.
    Void,
}

/// By whom an ask is blocked, as far as the waiting depends on it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Blocked {
    /// The first blocking key in byte order.
    pub key: LockKey,
    /// The greatest token that the store had given when it answered: only a grant with a greater one
    /// is newer than this answer.
    pub newest: FencingToken,
    /// After how long the hold on it ends unless it is extended. `None`: it doesn't.
    pub ends_in: Option<Duration>,
    /// The owner of the lease that holds it, if it is an owner's: this owner's requests re-enter.
    pub owner: Option<OwnerId>,
    /// At what intervals to ask again where the holder won't have the store tell of its release.
    pub looks: Option<Backoff>,
}

impl Blocked {
    /// Blocked on this key, by a holder of whom nothing more is known.
    #[must_use]
    pub const fn on(key: LockKey, newest: FencingToken) -> Self {
        Self { key, newest, ends_in: None, owner: None, looks: None }
    }

    /// The same, for so long.
    #[must_use]
    pub fn with_ends_in(self, ends_in: Option<Duration>) -> Self {
        Self { ends_in, ..self }
    }

    /// The same, by a lease of this owner.
    #[must_use]
    pub fn with_owner(self, owner: Option<OwnerId>) -> Self {
        Self { owner, ..self }
    }

    /// The same, to be asked again at these intervals.
    #[must_use]
    pub fn with_looks(self, looks: Option<Backoff>) -> Self {
        Self { looks, ..self }
    }
}
