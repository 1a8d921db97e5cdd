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
pub(crate) struct Sessions(watch::Sender<Option<Joined>>);

impl Sessions {
    /// There is none.
    pub(crate) fn none() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(crate) fn begin(&self, joined: Joined) {
        self.0.send_replace(Some(joined));
    }

    /// Every guard on it is lost. Answers which one has ended, if there was one.
    pub(crate) fn end(&self) -> Option<Joined> {
        let joined = self.0.send_replace(None);
        joined.inspect(|joined| joined.session.end())
    }

    pub(crate) fn joined(&self) -> Option<Joined> {
        self.0.borrow().clone()
    }

    /// The session that there is, or the next one.
    pub(crate) async fn wait(&self, limit: Duration) -> Result<Joined, Failure> {
        let mut sessions = self.0.subscribe();
        let joined = timeout(limit, sessions.wait_for(Option::is_some)).await;
        let joined = joined.ok().and_then(Result::ok).and_then(|joined| joined.clone());
        joined.ok_or_else(Failure::not_connected_in_time)
    }
}
