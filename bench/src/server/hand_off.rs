//! Processes that take turns with one key, each for a millisecond, next to the best that could be: a
//! message that goes round through the same server.

use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::figure::{Bound, Figure};
use super::processes::Processes;
use super::turns::{Counted, Order};
use crate::measure::Variant;
use crate::rounds::{Group, Target, Workers};

const OURS: &str = "execute";
const RING: &str = "message ring";
const SECTION: Duration = Duration::from_millis(1);
/// So long that each of eight processes has its turn a hundred times: one more or less is no matter then.
const ROUND: Duration = Duration::from_millis(1000);

/// What is asked of a provider.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    /// The part of the ring's rate.
    pub(crate) ratio: f64,
    /// What an acquisition costs on the server: what it is counted in, and how many at most.
    pub(crate) calls: (&'static str, f64),
}

/// `called`: how many calls the server has served so far.
pub(crate) fn group(
    processes: &Rc<Processes>,
    count: usize,
    asked: Asked,
    called: impl Fn(&Handle) -> u64 + 'static,
) -> (Group, Vec<Figure>) {
    let title = |what: &str| format!("hand-off, {count} processes: {what}");
    let (unit, most) = asked.calls;
    let calls = Figure::new(title(&format!("{unit} per acquisition")), Bound::AtMost(most));
    let share = Figure::new(title("share of the slowest over the mean"), Bound::AtLeast(0.95));

    let ours = Rc::clone(processes);
    let (calls_of_each, slowest) = (calls.samples(), share.samples());
    let execute = move |runtime: &Handle, count, length| {
        let order = Order::Execute { tasks: 1, section: SECTION, length };
        let before = called(runtime);
        let counted = ours.all_of(count, |_| order.clone());
        let calls = called(runtime) - before;
        let all: u64 = counted.iter().map(|counted| counted.all).sum();
        calls_of_each.borrow_mut().push(calls as f64 / all as f64);
        slowest.borrow_mut().push(share_of_slowest(&counted));
        rate(&counted, length)
    };
    let ring = Rc::clone(processes);
    let ring = move |_: &Handle, count, length| {
        let round = fastrand::u64(..);
        let order = |place| {
            let (starts, next) = ((place == 0).then_some(place), (place + 1) % count);
            Order::Ring { round, starts, next, section: SECTION, length }
        };
        rate(&ring.all_of(count, order), length)
    };
    let group = Group {
        title: "one key, a section of 1 ms",
        workers: Workers::Processes(count),
        round: ROUND,
        variants: vec![Variant::measured(OURS, execute), Variant::measured(RING, ring)],
        floors: &[RING],
        targets: vec![Target { variant: OURS, floors: &[RING], ratio: asked.ratio }],
        rounds: Vec::new(),
    };
    (group, vec![calls, share])
}

fn rate(counted: &[Counted], length: Duration) -> f64 {
    let all: u64 = counted.iter().map(|counted| counted.in_time).sum();
    all as f64 / length.as_secs_f64()
}

fn share_of_slowest(counted: &[Counted]) -> f64 {
    let all: u64 = counted.iter().map(|counted| counted.in_time).sum();
    let least = counted.iter().map(|counted| counted.in_time).min().unwrap_or(0);
    least as f64 * counted.len() as f64 / all as f64
}
