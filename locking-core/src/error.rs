use std::fmt;

use crate::capabilities::Capability;
use crate::config::ConfigurationError;
use crate::invalid::InvalidInput;
use crate::key::LockKey;
use crate::loss::LossReason;
use crate::provider_id::ProviderId;

/// The error of the driver below, as the `source` of an [`Error`].
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The result of a locking operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong: one variant for each decision that a caller can take.
///
/// Every variant but [`UnknownOutcome`](Self::UnknownOutcome) of an acquisition means that nothing
/// taken by the call is held. With [`Closed`](Self::Closed) that is so when the module's `close` has ended
/// without an error: it waits until all is given back, the calls don't.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Somebody else holds the key, and the call didn't wait.
    #[error("failed to acquire lock for key \"{key}\"")]
    #[non_exhaustive]
    Held {
        /// The provider that was asked.
        provider: ProviderId,
        /// The first blocking key in byte order.
        key: LockKey,
    },
    /// The keys were not free before the deadline.
    #[error("timed out acquiring lock for key \"{key}\"")]
    #[non_exhaustive]
    TimedOut {
        /// The provider that was asked.
        provider: ProviderId,
        /// The first blocking key in byte order.
        key: LockKey,
    },
    /// The lease is not held any more. Stop the guarded work: somebody else may have begun theirs.
    #[error("lost the lock for key \"{key}\": {reason}")]
    #[non_exhaustive]
    Lost {
        /// The provider that was asked.
        provider: ProviderId,
        /// The first lost key in byte order.
        key: LockKey,
        /// How it was lost.
        reason: LossReason,
    },
    /// The answer of the store got lost, and whether the request was carried out couldn't be found
    /// out before the deadline. What an acquisition may have taken is given back in the background.
    #[error(
        "locking provider `{provider}` can't tell whether the request was carried out{}",
        About(keys)
    )]
    #[non_exhaustive]
    UnknownOutcome {
        /// The provider that was asked.
        provider: ProviderId,
        /// The keys that the call was about, in byte order; none for one that names none.
        keys: Vec<LockKey>,
        /// The driver's error.
        source: BoxError,
    },
    /// The store can't be reached. Nothing was taken; the same call may succeed later.
    #[error("locking provider `{provider}` is unavailable{}", About(keys))]
    #[non_exhaustive]
    Unavailable {
        /// The provider that was asked.
        provider: ProviderId,
        /// The keys that the call was about, in byte order; none for one that names none.
        keys: Vec<LockKey>,
        /// The driver's error.
        source: BoxError,
    },
    /// The call itself is wrong; nothing was asked of the store.
    #[error(transparent)]
    InvalidInput(#[from] InvalidInput),
    /// The provider doesn't declare the capability that the call needs.
    #[error("locking provider `{provider}` does not support `{capability}`")]
    #[non_exhaustive]
    Unsupported {
        /// The provider that was asked.
        provider: ProviderId,
        /// The keys that the call was about, in byte order; none for one that names none.
        keys: Vec<LockKey>,
        /// What it lacks.
        capability: Capability,
    },
    /// The store, or the provider's share of it, is full.
    #[error("locking provider `{provider}` has no capacity left{}", About(keys))]
    #[non_exhaustive]
    CapacityExceeded {
        /// The provider that was asked.
        provider: ProviderId,
        /// The keys that the call was about, in byte order; none for one that names none.
        keys: Vec<LockKey>,
        /// What is full.
        source: BoxError,
    },
    /// The module or the provider was closed.
    #[error("locking provider `{provider}` is closed")]
    #[non_exhaustive]
    Closed {
        /// The provider that was asked.
        provider: ProviderId,
        /// The keys that the call was about, in byte order; none for one that names none.
        keys: Vec<LockKey>,
    },
    /// The configuration is wrong, or a call names a provider that it doesn't have.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
}

impl Error {
    /// See [`Self::Held`].
    #[must_use]
    pub fn held(provider: &ProviderId, key: LockKey) -> Self {
        Self::Held { provider: provider.clone(), key }
    }

    /// See [`Self::TimedOut`].
    #[must_use]
    pub fn timed_out(provider: &ProviderId, key: LockKey) -> Self {
        Self::TimedOut { provider: provider.clone(), key }
    }

    /// See [`Self::Lost`].
    #[must_use]
    pub fn lost(provider: &ProviderId, key: LockKey, reason: LossReason) -> Self {
        Self::Lost { provider: provider.clone(), key, reason }
    }

    /// See [`Self::UnknownOutcome`].
    #[must_use]
    pub fn unknown_outcome(provider: &ProviderId, source: impl Into<BoxError>) -> Self {
        Self::UnknownOutcome { provider: provider.clone(), keys: Vec::new(), source: source.into() }
    }

    /// See [`Self::Unavailable`].
    #[must_use]
    pub fn unavailable(provider: &ProviderId, source: impl Into<BoxError>) -> Self {
        Self::Unavailable { provider: provider.clone(), keys: Vec::new(), source: source.into() }
    }

    /// See [`Self::Unsupported`].
    #[must_use]
    pub fn unsupported(provider: &ProviderId, capability: Capability) -> Self {
        Self::Unsupported { provider: provider.clone(), keys: Vec::new(), capability }
    }

    /// See [`Self::CapacityExceeded`].
    #[must_use]
    pub fn capacity_exceeded(provider: &ProviderId, source: impl Into<BoxError>) -> Self {
        Self::CapacityExceeded {
            provider: provider.clone(),
            keys: Vec::new(),
            source: source.into(),
        }
    }

    /// See [`Self::Closed`].
    #[must_use]
    pub fn closed(provider: &ProviderId) -> Self {
        Self::Closed { provider: provider.clone(), keys: Vec::new() }
    }

    /// Whether the same call may succeed later without a change by the caller: a key that is held,
    /// a wait that timed out, a store that can't be reached, an outcome that is unknown, and a
    /// capacity that is used up.
    ///
    /// After [`UnknownOutcome`](Self::UnknownOutcome) of an acquisition with an owner, the same owner may find the
    /// hold that is still being given back, enter it, and lose it with that: it releases the key first, or takes
    /// another name.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Held { .. }
                | Self::TimedOut { .. }
                | Self::Unavailable { .. }
                | Self::UnknownOutcome { .. }
                | Self::CapacityExceeded { .. }
        )
    }

    /// The provider that was asked, where one was.
    #[must_use]
    pub fn provider(&self) -> Option<&ProviderId> {
        match self {
            Self::Held { provider, .. }
            | Self::TimedOut { provider, .. }
            | Self::Lost { provider, .. }
            | Self::UnknownOutcome { provider, .. }
            | Self::Unavailable { provider, .. }
            | Self::Unsupported { provider, .. }
            | Self::CapacityExceeded { provider, .. }
            | Self::Closed { provider, .. } => Some(provider),
            Self::InvalidInput(_) | Self::Configuration(_) => None,
        }
    }

    /// The key that is at issue, where one is.
    #[must_use]
    pub fn key(&self) -> Option<&LockKey> {
        match self {
            Self::Held { key, .. } | Self::TimedOut { key, .. } | Self::Lost { key, .. } => {
                Some(key)
            }
            _ => None,
        }
    }

    /// The keys that the call was about, where that is known: of the variants with a `key`, that one.
    #[must_use]
    pub fn keys(&self) -> &[LockKey] {
        match self {
            Self::Held { key, .. } | Self::TimedOut { key, .. } | Self::Lost { key, .. } => {
                std::slice::from_ref(key)
            }
            Self::UnknownOutcome { keys, .. }
            | Self::Unavailable { keys, .. }
            | Self::Unsupported { keys, .. }
            | Self::CapacityExceeded { keys, .. }
            | Self::Closed { keys, .. } => keys,
            Self::InvalidInput(_) | Self::Configuration(_) => &[],
        }
    }

    /// The same error, of a call for these keys, unless it names some already. The module sees to that, but for
    /// acquisitions and releases of a provider that [ends waits](crate::LockingProvider::ends_waits) itself.
    #[must_use]
    #[cold]
    pub fn about<'k>(mut self, about: impl IntoIterator<Item = &'k LockKey>) -> Self {
        if let Self::UnknownOutcome { keys, .. }
        | Self::Unavailable { keys, .. }
        | Self::Unsupported { keys, .. }
        | Self::CapacityExceeded { keys, .. }
        | Self::Closed { keys, .. } = &mut self
            && keys.is_empty()
        {
            keys.extend(about.into_iter().cloned());
        }
        self
    }

    /// The outcome's name in spans and reports.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Held { .. } => "held",
            Self::TimedOut { .. } => "timed out",
            Self::Lost { .. } => "lost",
            Self::UnknownOutcome { .. } => "unknown outcome",
            Self::Unavailable { .. } => "unavailable",
            Self::InvalidInput(_) => "invalid input",
            Self::Unsupported { .. } => "unsupported",
            Self::CapacityExceeded { .. } => "capacity exceeded",
            Self::Closed { .. } => "closed",
            Self::Configuration(_) => "configuration",
        }
    }
}

/// The keys of a call in an error's text: the first few, and how many more there are.
struct About<'a>(&'a [LockKey]);

impl About<'_> {
    const NAMED: usize = 3;
}

impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (named, others) = self.0.split_at(self.0.len().min(Self::NAMED));
        f.write_str(match named {
            [] => return Ok(()),
            [_] => ", asked for key ",
            _ => ", asked for keys ",
        })?;
        for (at, key) in named.iter().enumerate() {
            write!(f, "{}\"{key}\"", if at > 0 { ", " } else { "" })?;
        }
        if others.is_empty() { Ok(()) } else { write!(f, " and {} more", others.len()) }
    }
}
