use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use locking_core::Session;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::failure::Failure;

/// A session of this process with the server: the number under which the server knows it, and what guards
/// hang on.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    pub(crate) number: i32,
    pub(crate) session: Session,
}

/// The session that there is just now.
#[derive(Debug)]
pub(crate) struct Sessions {
    current: watch::Sender<Option<Joined>>,
    /// The one before, while the server hasn't been told that it is given up; 0 for none.
    given_up: AtomicI32,
}

impl Sessions {
    /// There is none.
    pub(crate) fn none() -> Self {
        Self { current: watch::Sender::new(None), given_up: AtomicI32::new(0) }
    }

    /// The server knows that the one before is given up.
    pub(crate) fn begin(&self, joined: Joined) {
        self.given_up.store(0, Ordering::SeqCst);
        if let Some(before) = self.current.send_replace(Some(joined)) {
            before.session.end();
        }
    }

    /// Every guard on the session with this number is lost. Another one stays.
    pub(crate) fn end(&self, number: i32) {
        let is_meant = |joined: &mut Joined| joined.number == number;
        let mut ended = None;
        self.current.send_if_modified(|current| {
            ended = current.take_if(is_meant);
            ended.is_some()
        });
        if let Some(joined) = ended {
            joined.session.end();
            self.given_up.store(number, Ordering::SeqCst);
        }
    }

    /// Every guard on the session that there is, is lost.
    pub(crate) fn end_current(&self) {
        if let Some(joined) = self.joined() {
            self.end(joined.number);
        }
    }

    /// The number of the session that was given up, of which the server is to be told; 0 for none.
    pub(crate) fn given_up(&self) -> i32 {
        self.given_up.load(Ordering::SeqCst)
    }

    pub(crate) fn joined(&self) -> Option<Joined> {
        self.current.borrow().clone()
    }

    /// The session that there is, or the next one.
    pub(crate) async fn wait(&self, limit: Duration) -> Result<Joined, Failure> {
        let mut sessions = self.current.subscribe();
        let joined = timeout(limit, sessions.wait_for(Option::is_some)).await;
        let joined = joined.ok().and_then(Result::ok).and_then(|joined| joined.clone());
        joined.ok_or_else(Failure::not_connected_in_time)
    }
}
