use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One of the independent users of a store.
#[derive(Debug)]
pub(crate) struct Client {
    /// No other one in this process has it.
    number: u64,
    is_refused: AtomicBool,
    is_closed: AtomicBool,
}

impl Client {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { number, is_refused: AtomicBool::default(), is_closed: AtomicBool::default() }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether it is granted nothing any more.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::SeqCst)
    }

    pub(crate) fn refuse(&self) {
        self.is_refused.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }
}
