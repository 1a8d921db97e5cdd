use std::fmt;

use serde::{Deserialize, Serialize};

use crate::key::LockKey;
use crate::key_set::KeySet;
use crate::one_or_many::OneOrMany;
use crate::owner::OwnerId;
use crate::provider_id::ProviderId;
use crate::token::FencingToken;

/// An event about a lease: which lock it is, and whose. What follows the lease is as in the macros of `tracing`.
macro_rules! lease_event {
    ($level:ident, $lease:expr, $($told:tt)+) => {
        tracing::$level!(
            provider = %$lease.provider, keys = ?$lease.key_names(), owner = $lease.told_owner(),
            token = %$lease.token(), $($told)+
        )
    };
}

pub(crate) use lease_event;

/// The fact that a holder holds a set of keys, as plain serialisable data.
///
/// It can be stored, sent to another process, and released or extended there *as a lease*: then
/// the tokens are compared too, so that a late release never frees a successor.
///
/// ```
/// # use locking_core::*;
/// # let lease = Lease::new(
/// #     ProviderId::new("locking-memory")?,
/// #     Some(OwnerId::new("user_123")?),
/// #     [LeasedKey::taken(LockKey::new("prod_123")?, FencingToken::new(7))],
/// # );
/// let json = serde_json::to_string(&lease)?;
/// assert_eq!(serde_json::from_str::<Lease>(&json)?, lease);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lease {
    /// The provider that gave it, by the id under which it is configured.
    pub provider: ProviderId,
    /// Who holds it; nobody in particular when the acquisition was anonymous.
    pub owner: Option<OwnerId>,
    /// The keys, in byte order, with what was granted on each.
    keys: LeasedKeys,
}

/// In byte order of the keys; serialises as a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LeasedKeys(OneOrMany<LeasedKey>);

impl Lease {
    /// A lease on these keys. Providers make it; keys are brought into byte order, each once.
    #[must_use]
    pub fn new(
        provider: ProviderId,
        owner: Option<OwnerId>,
        keys: impl IntoIterator<Item = LeasedKey>,
    ) -> Self {
        Self { provider, owner, keys: LeasedKeys::sorted(keys.into_iter().collect()) }
    }

    /// A lease on one key.
    #[must_use]
    pub fn of_one(provider: ProviderId, owner: Option<OwnerId>, key: LeasedKey) -> Self {
        Self { provider, owner, keys: LeasedKeys(OneOrMany::One(key)) }
    }

    /// The keys, in byte order, with what was granted on each.
    #[must_use]
    pub fn keys(&self) -> &[LeasedKey] {
        &self.keys.0
    }

    /// The keys that the call took, and that releasing the lease gives back; re-entered ones are
    /// left to the lease that took them.
    pub fn taken(&self) -> impl Iterator<Item = &LeasedKey> {
        self.keys().iter().filter(|leased| leased.taken)
    }

    /// The token of a key; `None` if the lease doesn't have that key.
    #[must_use]
    pub fn token_of(&self, key: &str) -> Option<FencingToken> {
        let at = self.keys().binary_search_by(|leased| leased.key.as_str().cmp(key)).ok()?;
        Some(self.keys()[at].token)
    }

    /// The greatest token of the lease: with one key, that key's; with several, the one to send along
    /// where one number must do for all.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        let greatest = self.keys().iter().map(|leased| leased.token).max();
        greatest.unwrap_or(FencingToken::new(0))
    }

    /// The keys alone, for spans and events.
    pub(crate) fn key_names(&self) -> impl fmt::Debug {
        fmt::from_fn(|f| {
            f.debug_list().entries(self.keys().iter().map(|leased| &leased.key)).finish()
        })
    }

    /// The owner, for spans and events; nothing where there is none.
    pub(crate) fn told_owner(&self) -> Option<impl tracing::Value> {
        self.owner.as_ref().map(tracing::field::display)
    }

    /// The lease's keys as a set.
    ///
    /// # Panics
    ///
    /// If the lease was made without keys, which no provider does.
    #[must_use]
    pub fn key_set(&self) -> KeySet {
        let keys = self.keys().iter().map(|leased| leased.key.clone());
        KeySet::new(keys).expect("a lease has at least one key")
    }
}

/// One key of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LeasedKey {
    /// The key.
    pub key: LockKey,
    /// The token of the hold that the key is under.
    pub token: FencingToken,
    /// Whether the call took the key; if not, its owner held it already and re-entered it.
    pub taken: bool,
}

impl LeasedKey {
    /// A key that the call took.
    #[must_use]
    pub const fn taken(key: LockKey, token: FencingToken) -> Self {
        Self { key, token, taken: true }
    }

    /// A key that its owner held already.
    #[must_use]
    pub const fn reentered(key: LockKey, token: FencingToken) -> Self {
        Self { key, token, taken: false }
    }
}

impl LeasedKeys {
    fn sorted(mut keys: Vec<LeasedKey>) -> Self {
        keys.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        keys.dedup_by(|one, other| one.key == other.key);
        Self(keys.into())
    }
}

impl Serialize for LeasedKeys {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LeasedKeys {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;

        let keys = Vec::<LeasedKey>::deserialize(deserializer)?;
        if keys.is_empty() {
            return Err(D::Error::invalid_length(0, &"at least one leased key"));
        }
        let (given, keys) = (keys.len(), Self::sorted(keys));
        if keys.0.len() < given {
            return Err(D::Error::custom("a lease has each key once"));
        }
        Ok(keys)
    }
}
