use locking_core::FencingToken;
use tokio::time::Instant;

/// What happened, as those saw it who took part.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct History {
    /// Every hold of every key.
    pub records: Vec<HoldRecord>,
    /// How many operations were done, refused ones too.
    pub operations: usize,
}

impl History {
    /// How many holds were recorded.
    #[must_use]
    pub fn holds(&self) -> usize {
        self.records.len()
    }
}

/// One key, held once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HoldRecord {
    /// Who held it: a number of the workload's own.
    pub holder: usize,
    /// The key.
    pub key: String,
    /// The token under which it was held.
    pub token: FencingToken,
    /// Before it was asked for.
    pub asked: Instant,
    /// When the answer was there.
    pub granted: Instant,
    /// Between these two moments the hold was valid beyond doubt: by its own `check()`, or because
    /// its expiry, counted from before it was asked for, was not over and nobody had released it.
    pub valid: Option<(Instant, Instant)>,
    /// Whether the fenced resource refused a write during that time.
    pub was_fenced_off: bool,
}

impl HoldRecord {
    /// A hold that was asked for and granted at these moments.
    #[must_use]
    pub fn new(
        holder: usize,
        key: String,
        token: FencingToken,
        asked: Instant,
        granted: Instant,
    ) -> Self {
        Self { holder, key, token, asked, granted, valid: None, was_fenced_off: false }
    }

    /// The same, valid beyond doubt between two moments.
    #[must_use]
    pub fn with_valid(self, from: Instant, until: Instant) -> Self {
        Self { valid: (from < until).then_some((from, until)), ..self }
    }
}
