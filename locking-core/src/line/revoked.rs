use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use smol_str::SmolStr;

use super::ask::AskId;

/// How many are remembered: more than answers are under way while a store frees by force.
const REMEMBERED: usize = 1024;

/// Asks whose hold was freed by force before this client knew that it has it: the store tells of the one
/// and answers the other over two connections.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    any: AtomicBool,
    last: Mutex<VecDeque<SmolStr>>,
}

impl Revoked {
    pub(super) fn remember(&self, ask: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.truncate(REMEMBERED - 1);
        last.push_front(ask.into());
        self.any.store(true, Ordering::SeqCst);
    }

    pub(super) fn contains(&self, ask: &AskId) -> bool {
        self.any.load(Ordering::SeqCst) && {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.iter().any(|revoked| revoked == ask.as_str())
        }
    }
}
