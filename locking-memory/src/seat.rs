use std::sync::Arc;

use parking_lot::Mutex;

/// Where a waiter lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// That of the key in whose queue it stands, and so of the shard.
    pub(crate) hash: u64,
    /// Its number among the waiters of the shard.
    pub(crate) at: usize,
}

/// How a waiter's own task finds it.
#[derive(Debug)]
pub(crate) enum Seat {
    /// Who waits for one key stays where it is.
    Fixed(Place),
    /// Who waits for several is moved; that is noted under the mutexes of both shards.
    Moving(Arc<Mutex<Place>>),
}

impl Seat {
    /// Where it is. That of one that is moved lasts for as long as that shard is locked.
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Fixed(place) => *place,
            Self::Moving(place) => *place.lock(),
        }
    }
}
