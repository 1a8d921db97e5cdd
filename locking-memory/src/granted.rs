use std::ops::{Deref, DerefMut};

use locking_core::{FencingToken, Grant, Lease, LeasedKey, LockKey, Moment, ProviderId};
use tokio::time::Instant;

use crate::claim::{Claim, Now};

/// What a claim was granted.
///
/// Small, as it is handed from whoever frees a key to the one that waits for it: that one makes a
/// lease of it and of its claim.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) keys: GrantedKeys,
    /// Since when a guard's time counts, for one that waited.
    at: Option<Moment>,
    /// Its number among all grants: the token that was drawn for it, also where it re-entered and so
    /// has another one.
    pub(crate) number: u64,
    /// When it was granted; `None` where no expiry counts from then.
    pub(crate) since: Option<Instant>,
}

/// On which terms a claim is granted its keys.
#[derive(Debug)]
pub(crate) struct Terms {
    /// That of the grant, and the token of what it takes.
    pub(crate) number: u64,
    /// When a hold that it takes ends by itself.
    pub(crate) expires: Option<Instant>,
    /// Whether who asks learns of it before anything else can happen to it.
    pub(crate) is_told: bool,
    at: Option<Moment>,
    since: Option<Instant>,
}

/// What was granted of each key, in the order of the claim's keys.
#[derive(Debug)]
pub(crate) enum GrantedKeys {
    One(GrantedKey),
    Several(Vec<GrantedKey>),
}

/// What was granted of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GrantedKey {
    /// That of the hold.
    pub(crate) token: u64,
    /// Whether the claim took the hold; otherwise it re-entered it.
    pub(crate) taken: bool,
}

impl Terms {
    /// Those of a grant with this number. Who isn't told of it at once may be a guard whose time counts from now.
    pub(crate) fn new(number: u64, claim: &Claim, now: &Now, is_told: bool) -> Self {
        let expires = claim.expires(now);
        let at = (!is_told && claim.is_guard()).then(|| Moment::of(now.get()));
        Self { number, expires, is_told, at, since: expires.map(|_| now.get()) }
    }

    /// What is granted on them.
    pub(crate) fn granted(self, keys: GrantedKeys) -> Granted {
        Granted { keys, at: self.at, number: self.number, since: self.since }
    }
}

impl Granted {
    /// Whether it re-entered nothing.
    pub(crate) fn took_all(&self) -> bool {
        self.keys.iter().all(|granted| granted.taken)
    }

    /// The answer to the claim that this was granted to.
    pub(crate) fn to_grant(&self, claim: &Claim, provider: &ProviderId) -> Grant {
        let (provider, owner) = (provider.clone(), claim.owner().cloned());
        let grant = Grant::new(match &self.keys {
            GrantedKeys::One(granted) => {
                Lease::of_one(provider, owner, granted.leased(claim.keys().first()))
            }
            GrantedKeys::Several(granted) => {
                let keys = claim.keys().iter().zip(granted);
                Lease::new(provider, owner, keys.map(|(key, granted)| granted.leased(key)))
            }
        });
        match self.at {
            Some(at) => grant.with_counted_from(at),
            None => grant,
        }
    }
}

impl GrantedKey {
    fn leased(self, key: &LockKey) -> LeasedKey {
        let token = FencingToken::new(self.token);
        let leased = if self.taken { LeasedKey::taken } else { LeasedKey::reentered };
        leased(key.clone(), token)
    }
}

impl Deref for GrantedKeys {
    type Target = [GrantedKey];

    fn deref(&self) -> &[GrantedKey] {
        match self {
            Self::One(granted) => std::slice::from_ref(granted),
            Self::Several(granted) => granted,
        }
    }
}

impl DerefMut for GrantedKeys {
    fn deref_mut(&mut self) -> &mut [GrantedKey] {
        match self {
            Self::One(granted) => std::slice::from_mut(granted),
            Self::Several(granted) => granted,
        }
    }
}
