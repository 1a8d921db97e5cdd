use std::sync::atomic::{AtomicU64, Ordering};

use super::fault::Direction;

/// What came into a proxy or a connection, whatever faults then did to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Connections that were accepted, those that were refused not counted.
    pub connections: u64,
    /// Bytes of clients.
    pub bytes_to_server: u64,
    /// Bytes of the server.
    pub bytes_to_client: u64,
    /// The pieces in which clients' bytes came: mostly one for each time that a client wrote.
    pub pieces_to_server: u64,
    /// The pieces in which the server's bytes came.
    pub pieces_to_client: u64,
}

impl Counts {
    /// The bytes that came this way.
    #[must_use]
    pub const fn bytes(&self, direction: Direction) -> u64 {
        match direction {
            Direction::ToServer => self.bytes_to_server,
            Direction::ToClient => self.bytes_to_client,
        }
    }

    /// What came since an earlier look.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            connections: self.connections.saturating_sub(earlier.connections),
            bytes_to_server: self.bytes_to_server.saturating_sub(earlier.bytes_to_server),
            bytes_to_client: self.bytes_to_client.saturating_sub(earlier.bytes_to_client),
            pieces_to_server: self.pieces_to_server.saturating_sub(earlier.pieces_to_server),
            pieces_to_client: self.pieces_to_client.saturating_sub(earlier.pieces_to_client),
        }
    }
}

/// Counts that go on.
#[derive(Debug, Default)]
pub(super) struct Counter {
    connections: AtomicU64,
    to_server: Way,
    to_client: Way,
}

#[derive(Debug, Default)]
struct Way {
    bytes: AtomicU64,
    pieces: AtomicU64,
}

impl Counter {
    pub(super) fn connection(&self) {
        self.connections.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a piece, and says how many bytes came this way before it.
    pub(super) fn piece(&self, direction: Direction, bytes: usize) -> u64 {
        let way = self.way(direction);
        way.pieces.fetch_add(1, Ordering::SeqCst);
        way.bytes.fetch_add(bytes as u64, Ordering::SeqCst)
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            connections: self.connections.load(Ordering::SeqCst),
            bytes_to_server: self.to_server.bytes.load(Ordering::SeqCst),
            bytes_to_client: self.to_client.bytes.load(Ordering::SeqCst),
            pieces_to_server: self.to_server.pieces.load(Ordering::SeqCst),
            pieces_to_client: self.to_client.pieces.load(Ordering::SeqCst),
        }
    }

    fn way(&self, direction: Direction) -> &Way {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }
}
