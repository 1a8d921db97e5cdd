use std::time::Duration;

/// What a proxy does wrong.
///
/// Those that cut happen once: the first connection to which they apply is cut, and the fault is
/// gone. The others last until they are taken back by `restore`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// What goes this way arrives so much later, in its order. The last one of a direction counts.
    Delay {
        /// The way it goes.
        direction: Direction,
        /// How much later.
        by: Duration,
    },
    /// What goes this way is kept, and arrives when the fault is taken back: as over a network that
    /// was away for a while. So is the end of a connection.
    Hold {
        /// The way it goes.
        direction: Direction,
    },
    /// What goes this way is lost, and both ends see an open connection: half of it is dead. What was
    /// lost doesn't come back with `restore`, so the connection is of no use after it. An end that
    /// ends itself is seen with `restore`.
    Swallow {
        /// The way it goes.
        direction: Direction,
    },
    /// The next request reaches the server; the first bytes that come back after it are lost, and the
    /// connection is cut: whatever was asked for was done, and nobody hears of it.
    ///
    /// What the server sends by itself, and an answer to an earlier request, are taken for the reply
    /// too.
    LoseReply {
        /// How the connection is cut.
        cut: Cut,
    },
    /// So many bytes still go this way, then the connection is cut. With none, the cut comes when the
    /// first one wants to pass.
    ///
    /// Given to a proxy, bytes since [now](Since::Now) are those of all connections together, and
    /// the connection that carries the last of them is cut.
    CutAfter {
        /// The way that counts.
        direction: Direction,
        /// How many bytes pass.
        bytes: u64,
        /// From when on they are counted.
        since: Since,
        /// How the connection is cut.
        cut: Cut,
    },
}

/// One way of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Direction {
    /// Requests.
    ToServer,
    /// Replies and notifications.
    ToClient,
}

impl Direction {
    pub(super) const fn back(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cut {
    /// By a reset (RST), as when a machine or a firewall forgot it. Both ends see it.
    Reset,
    /// In good order (FIN), as when the other side closes it. Both ends see it.
    Close,
    /// Half-open: one end sees a reset. For the other one the connection stays open until it ends it itself,
    /// or the proxy ends, whatever else is cut; nothing comes on it any more, and what is sent on it is lost.
    HalfOpen {
        /// The way that leads to the end which sees it.
        told: Direction,
    },
}

/// From when on bytes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Since {
    /// From the moment at which the fault is injected.
    Now,
    /// From the start of each connection. On one that is beyond that byte already, the cut comes with
    /// the next one.
    Start,
}
