use std::fmt;
use std::time::Duration;

/// Something that not every store can promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// Tokens of one key grow strictly, whatever happens to the store.
    Fencing,
    /// Waiters are told of a free key; they don't poll.
    Notified,
    /// First come, first served.
    Fair,
    /// Holders in different processes exclude each other.
    SharedBetweenProcesses,
    /// While several keys are taken, nobody sees some of them held.
    AtomicMultiKey,
    /// What was acknowledged survives a restart or crash of the server; guards that hang on a session may end with it.
    SurvivesRestart,
    /// A dead process's guards are free after a bound.
    Takeover,
    /// `inspect` and `list` say who holds what.
    Lists,
}

impl Capability {
    /// Every capability, in the order in which the contract names them.
    pub const ALL: [Self; 8] = [
        Self::Fencing,
        Self::Notified,
        Self::Fair,
        Self::SharedBetweenProcesses,
        Self::AtomicMultiKey,
        Self::SurvivesRestart,
        Self::Takeover,
        Self::Lists,
    ];

    /// The name by which contract, docs and reports call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fencing => "fencing",
            Self::Notified => "notified",
            Self::Fair => "fair",
            Self::SharedBetweenProcesses => "shared_between_processes",
            Self::AtomicMultiKey => "atomic_multi_key",
            Self::SurvivesRestart => "survives_restart",
            Self::Takeover => "takeover",
            Self::Lists => "lists",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a provider promises beyond the baseline. A false claim fails the contract suite.
///
/// ```
/// use locking_core::{Capabilities, Capability};
///
/// const CLAIMS: Capabilities = Capabilities::none().with(Capability::Fencing).with(Capability::Lists);
/// assert!(CLAIMS.has(Capability::Lists) && !CLAIMS.has(Capability::Fair));
/// assert_eq!(CLAIMS.to_string(), "fencing, lists");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    claimed: u16,
    takeover: Option<Duration>,
}

impl Capabilities {
    /// The baseline alone.
    #[must_use]
    pub const fn none() -> Self {
        Self { claimed: 0, takeover: None }
    }

    /// The same and this one. [`Capability::Takeover`] needs a bound: use
    /// [`with_takeover`](Self::with_takeover).
    ///
    /// # Panics
    ///
    /// If it is given `Capability::Takeover`; in a constant that is a compile error.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        assert!(
            !matches!(capability, Capability::Takeover),
            "takeover needs a bound: with_takeover"
        );
        Self { claimed: self.claimed | 1 << capability as u16, takeover: self.takeover }
    }

    /// The same, and a dead process's guards are free after `bound`.
    #[must_use]
    pub const fn with_takeover(self, bound: Duration) -> Self {
        Self { claimed: self.claimed, takeover: Some(bound) }
    }

    /// Whether this one is claimed.
    #[must_use]
    pub const fn has(self, capability: Capability) -> bool {
        match capability {
            Capability::Takeover => self.takeover.is_some(),
            other => self.claimed & (1 << other as u16) != 0,
        }
    }

    /// After how long a dead process's guards are free, where that is less than their lease.
    #[must_use]
    pub const fn takeover(self) -> Option<Duration> {
        self.takeover
    }

    /// Those that are claimed.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |capability| self.has(*capability))
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::none() {
            return f.write_str("none");
        }
        for (at, capability) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            match self.takeover.filter(|_| capability == Capability::Takeover) {
                Some(bound) => write!(f, "{comma}{capability}({bound:?})")?,
                None => write!(f, "{comma}{capability}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Capabilities({self})")
    }
}
