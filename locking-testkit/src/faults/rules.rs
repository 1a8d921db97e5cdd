use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::fault::{Cut, Direction, Fault, Since};

/// A fault as it was injected: what connections share of it.
#[derive(Clone, Debug)]
pub(super) struct Injected {
    fault: Fault,
    /// Whether a fault that happens once has happened.
    happened: Arc<AtomicBool>,
    /// How many bytes still pass, of those that are counted from now on.
    left: Arc<AtomicU64>,
}

impl Injected {
    pub(super) fn new(fault: Fault) -> Self {
        let left = match fault {
            Fault::CutAfter { bytes, .. } => bytes,
            _ => 0,
        };
        Self { fault, happened: Arc::default(), left: Arc::new(AtomicU64::new(left)) }
    }

    /// Whether this is the moment at which it happens, for the one connection that is first.
    fn happens(&self) -> bool {
        !self.happened.swap(true, Ordering::SeqCst)
    }

    pub(super) fn has_happened(&self) -> bool {
        self.happened.load(Ordering::SeqCst)
    }
}

/// The faults of one connection.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    injected: Injected,
    /// Whether a request went to the server since.
    was_asked: bool,
}

/// What becomes of a piece.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// How many of its bytes are passed on.
    pub(super) pass: usize,
    pub(super) delay: Duration,
    /// What comes after them.
    pub(super) cut: Option<Cut>,
}

impl Rules {
    pub(super) fn add(&mut self, injected: Injected) {
        self.0.retain(|rule| !rule.injected.has_happened());
        self.0.push(Rule { injected, was_asked: false });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn hold(&self, way: Direction) -> bool {
        let hold = Fault::Hold { direction: way };
        self.0.iter().any(|rule| rule.injected.fault == hold)
    }

    /// Whether the end of a connection isn't seen this way.
    pub(super) fn hides_an_end(&self, way: Direction) -> bool {
        let swallow = Fault::Swallow { direction: way };
        self.hold(way) || self.0.iter().any(|rule| rule.injected.fault == swallow)
    }

    /// Judges a piece of so many bytes, before which so many came this way.
    pub(super) fn judge(&mut self, way: Direction, before: u64, bytes: usize) -> Verdict {
        let mut verdict = Verdict { pass: bytes, ..Verdict::default() };
        for rule in &mut self.0 {
            match rule.injected.fault {
                Fault::Delay { direction, by } if direction == way => verdict.delay = by,
                Fault::Swallow { direction } if direction == way => verdict.pass = 0,
                Fault::LoseReply { cut } => rule.lose_reply(way, cut, &mut verdict),
                Fault::CutAfter { direction, bytes: after, since, cut } if direction == way => {
                    let left = match since {
                        Since::Now => rule.count_down(bytes),
                        Since::Start => after.saturating_sub(before),
                    };
                    rule.cut_after(left, bytes, cut, &mut verdict);
                }
                _ => {}
            }
        }
        verdict
    }
}

impl Rule {
    fn lose_reply(&mut self, way: Direction, cut: Cut, verdict: &mut Verdict) {
        match way {
            Direction::ToServer => self.was_asked |= !self.injected.has_happened(),
            Direction::ToClient if self.was_asked && self.injected.happens() => {
                (verdict.pass, verdict.cut) = (0, Some(cut));
            }
            Direction::ToClient => {}
        }
    }

    /// How many bytes were left to pass before this piece.
    fn count_down(&self, bytes: usize) -> u64 {
        let less = |left: u64| Some(left.saturating_sub(bytes as u64));
        let left = self.injected.left.try_update(Ordering::SeqCst, Ordering::SeqCst, less);
        left.unwrap_or(0)
    }

    fn cut_after(&self, left: u64, bytes: usize, cut: Cut, verdict: &mut Verdict) {
        let Some(left) = usize::try_from(left).ok().filter(|left| *left <= bytes) else { return };
        if self.injected.happens() {
            verdict.pass = verdict.pass.min(left);
            verdict.cut = Some(cut);
        }
    }
}
