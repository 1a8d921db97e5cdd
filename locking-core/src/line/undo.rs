use std::sync::Arc;

use super::ask::Ask;
use super::background;
use super::lines::Lines;
use super::store::LineStore;

/// An ask that is under way in a caller's own future. Dropped before it is settled, it is taken back
/// by a task.
pub(super) struct Undo<'a, S: LineStore> {
    lines: &'a Arc<Lines<S>>,
    ask: Option<Arc<Ask>>,
    /// Whether an answer to it is missing.
    pub(super) unsure: bool,
}

impl<'a, S: LineStore> Undo<'a, S> {
    pub(super) fn new(lines: &'a Arc<Lines<S>>, ask: Arc<Ask>) -> Self {
        Self { lines, ask: Some(ask), unsure: true }
    }

    pub(super) fn ask(&self) -> &Arc<Ask> {
        self.ask.as_ref().expect("there until it is settled, which takes this by value")
    }

    /// The store has answered, and nothing is to be taken back.
    pub(super) fn settled(mut self) -> Arc<Ask> {
        self.ask.take().expect("settled once, by value")
    }
}

impl<S: LineStore> Drop for Undo<'_, S> {
    fn drop(&mut self) {
        let Some(ask) = self.ask.take() else { return };
        let (lines, unsure) = (Arc::clone(self.lines), self.unsure);
        self.lines.spawn(async move {
            // An error is logged there, and ends by the expiry.
            let _ = background::withdraw(&lines, &ask, unsure).await;
        });
    }
}
