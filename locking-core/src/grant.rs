use std::time::Duration;

use crate::lease::Lease;
use crate::moment::Moment;
use crate::session::Session;

/// A provider's answer to an acquisition: the lease, and what a guard needs to know about it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Grant {
    /// What was granted.
    pub lease: Lease,
    /// A moment that is no later than the one from which the store counts the lease: that before
    /// the request which brought the grant was *sent*. `None`: that before the provider was called,
    /// which after a long wait costs a guard one renewal more.
    pub counted_from: Option<Moment>,
    /// How long the store lets the hold last until it is extended for the first time, where that is
    /// less than was asked for: a guard believes in it for that long, and extends it the sooner.
    pub term: Option<Duration>,
    /// The session that the hold hangs on as well: it ends with it, if its lease doesn't end before.
    pub session: Option<Session>,
}

impl Grant {
    /// A grant of this lease, counted from before the provider was called.
    #[must_use]
    pub const fn new(lease: Lease) -> Self {
        Self { lease, counted_from: None, term: None, session: None }
    }

    /// The same, counted from a later moment. See [`Self::counted_from`].
    #[must_use]
    pub fn with_counted_from(self, moment: Moment) -> Self {
        Self { counted_from: Some(moment), ..self }
    }

    /// The same, lasting only so long until it is extended. See [`Self::term`].
    #[must_use]
    pub fn with_term(self, term: Option<Duration>) -> Self {
        Self { term, ..self }
    }

    /// The same, as a hold that hangs on a session. See [`Self::session`].
    #[must_use]
    pub fn with_session(self, session: Session) -> Self {
        Self { session: Some(session), ..self }
    }
}
