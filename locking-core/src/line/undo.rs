use std::sync::Arc;

use super::ask::Ask;
use super::background::{self, Task};
use super::lines::Lines;
use super::store::LineStore;
use crate::error::{Error, Result};

/// An ask that is under way in a caller's own future. Dropped before it is settled, it is taken back
/// by a task.
pub(super) struct Undo<'a, S: LineStore> {
    lines: &'a Arc<Lines<S>>,
    ask: Option<Arc<Ask>>,
    /// Whether the last time it was asked is without an answer.
    unsure: bool,
    /// Whether one of the times before is: it may still be carried out.
    lost: bool,
    /// A close waits for it: what it still takes is to be given back before.
    _under_way: Task,
}

impl<'a, S: LineStore> Undo<'a, S> {
    /// # Errors
    ///
    /// [`Error::Closed`] if a close may not have seen it any more.
    pub(super) fn begin(lines: &'a Arc<Lines<S>>, ask: Arc<Ask>) -> Result<Self> {
        let under_way = lines.tasks.begin();
        if lines.is_closed() {
            return Err(Error::closed(lines.store().id()));
        }
        Ok(Self { lines, ask: Some(ask), unsure: true, lost: false, _under_way: under_way })
    }

    pub(super) fn ask(&self) -> &Arc<Ask> {
        self.ask.as_ref().expect("there until it is settled, which takes this by value")
    }

    /// It is asked now, or once more.
    pub(super) fn asks(&mut self) {
        self.unsure = true;
    }

    /// It was answered.
    pub(super) fn answered(&mut self) {
        self.unsure = false;
    }

    /// The answer is lost.
    pub(super) fn lost(&mut self) {
        self.lost = true;
    }

    /// Whether the answer to an earlier time was lost.
    pub(super) fn is_repeated(&self) -> bool {
        self.lost
    }

    /// Whether an answer to it is missing.
    pub(super) fn is_unsure(&self) -> bool {
        self.unsure || self.lost
    }

    /// The store has answered, and nothing is to be taken back.
    pub(super) fn settled(mut self) -> Arc<Ask> {
        self.ask.take().expect("settled once, by value")
    }
}

impl<S: LineStore> Drop for Undo<'_, S> {
    fn drop(&mut self) {
        let Some(ask) = self.ask.take() else { return };
        background::withdraw_later(self.lines, ask, self.is_unsure());
    }
}
