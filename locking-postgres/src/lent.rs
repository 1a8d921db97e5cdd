use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::{ClientWrapper, Object};
use tokio::sync::OwnedSemaphorePermit;

/// A connection of a pool, until it is dropped. It goes back there, unless something is under way on it.
pub(crate) struct Lent {
    /// `None`: it was taken out of the pool.
    connection: Option<Object>,
    is_busy: AtomicBool,
    _share: Option<OwnedSemaphorePermit>,
}

impl Lent {
    pub(crate) const fn new(connection: Object, share: Option<OwnedSemaphorePermit>) -> Self {
        Self { connection: Some(connection), is_busy: AtomicBool::new(false), _share: share }
    }

    /// While something is asked over it. Where that is dropped half way, the connection doesn't go back.
    pub(crate) async fn during<T>(&self, asked: impl Future<Output = T>) -> T {
        self.is_busy.store(true, Ordering::Relaxed);
        let answer = asked.await;
        self.is_busy.store(false, Ordering::Relaxed);
        answer
    }

    /// Takes it out of the pool.
    pub(crate) fn take(mut self) -> ClientWrapper {
        Object::take(self.connection.take().expect(THERE))
    }
}

impl Deref for Lent {
    type Target = Object;

    fn deref(&self) -> &Object {
        self.connection.as_ref().expect(THERE)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if *self.is_busy.get_mut()
            && let Some(connection) = self.connection.take()
        {
            drop(Object::take(connection));
        }
    }
}

const THERE: &str = "it is there until it is taken, by value";
