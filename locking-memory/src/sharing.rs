use tokio::time::Instant;

/// Who counts on a hold that several requests of its owner were granted, and until when.
///
/// A request that waited may never learn of its grant: its future is dropped first. What it was
/// granted is given up then, as if it had never been: the hold ends when those that are left count
/// on it to, and at once if there are none.
#[derive(Debug)]
pub(crate) struct Sharing {
    /// Until when those count on it who learned of their grants; `None`: nobody did.
    told: Option<End>,
    /// The grants that may still be given up. The one that took the hold stays here: it doesn't say
    /// when it is learned of, as most holds are never shared.
    untold: Vec<Share>,
}

/// One grant of a hold.
#[derive(Debug)]
pub(crate) struct Share {
    /// Its number: the token that was drawn for it.
    pub(crate) grant: u64,
    pub(crate) until: End,
}

/// When a hold ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    At(Instant),
    /// Later than any moment.
    Never,
}

impl Sharing {
    /// By the grant that took the hold alone.
    pub(crate) fn by(taker: Share) -> Self {
        Self { told: None, untold: vec![taker] }
    }

    pub(crate) fn add(&mut self, share: Share, is_told: bool) {
        if is_told {
            self.count_on(share.until);
        } else {
            self.untold.push(share);
        }
    }

    /// Notes that a grant was learned of. Answers whether that is the first one, after the one that
    /// took the hold was given up.
    pub(crate) fn tell(&mut self, grant: u64, taker: u64) -> bool {
        let Some(at) = self.untold.iter().position(|share| share.grant == grant) else {
            return false;
        };
        let share = self.untold.swap_remove(at);
        let is_first = self.told.is_none() && grant != taker;
        let has_no_taker = self.untold.iter().all(|share| share.grant != taker);
        self.count_on(share.until);
        is_first && has_no_taker
    }

    pub(crate) fn give_up(&mut self, grant: u64) {
        self.untold.retain(|share| share.grant != grant);
    }

    /// Lets the hold end then, whatever was granted before.
    pub(crate) fn set(&mut self, end: End) {
        *self = Self { told: Some(end), untold: Vec::new() };
    }

    /// When the hold ends; `None`: nobody counts on it.
    pub(crate) fn end(&self) -> Option<End> {
        self.untold.iter().map(|share| share.until).chain(self.told).max()
    }

    /// When the hold ends whatever is given up but the grant that took it; `None`: nobody was told of it, and
    /// that one is given up already.
    pub(crate) fn sure_end(&self, taker: u64) -> Option<End> {
        let taken = self.untold.iter().find(|share| share.grant == taker).map(|share| share.until);
        self.told.max(taken)
    }

    fn count_on(&mut self, until: End) {
        self.told = self.told.max(Some(until));
    }
}

impl End {
    pub(crate) fn instant(self) -> Option<Instant> {
        match self {
            Self::At(instant) => Some(instant),
            Self::Never => None,
        }
    }
}

impl From<Option<Instant>> for End {
    fn from(expires: Option<Instant>) -> Self {
        expires.map_or(Self::Never, Self::At)
    }
}
