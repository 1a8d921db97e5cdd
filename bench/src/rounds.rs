use std::fmt;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::measure::Variant;

/// Short, so that whatever else the machine does meets all variants alike.
pub(crate) const ROUND: Duration = Duration::from_millis(100);

/// Variants of the same work, measured in turns.
pub(crate) struct Group {
    pub(crate) title: &'static str,
    pub(crate) workers: Workers,
    /// For how long each variant is measured in a round.
    pub(crate) round: Duration,
    pub(crate) variants: Vec<Variant>,
    /// The names of the variants that others are compared with.
    pub(crate) floors: &'static [&'static str],
    /// What a variant should reach.
    pub(crate) targets: Vec<Target>,
    /// Each round's rates, in the order of the variants.
    pub(crate) rounds: Vec<Vec<f64>>,
}

/// Who does the work.
#[derive(Clone, Copy)]
pub(crate) enum Workers {
    Tasks(usize),
    Processes(usize),
}

impl Workers {
    pub(crate) const fn count(self) -> usize {
        let (Self::Tasks(count) | Self::Processes(count)) = self;
        count
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tasks(count) => write!(f, "{count} task(s)"),
            Self::Processes(count) => write!(f, "{count} processes"),
        }
    }
}

/// The part of the best of some floors' rate that a variant should reach.
pub(crate) struct Target {
    pub(crate) variant: &'static str,
    pub(crate) floors: &'static [&'static str],
    pub(crate) ratio: f64,
}

impl Group {
    /// The same in this runtime, whichever others are measured in. What was made for it has to belong there.
    pub(crate) fn within(self, runtime: &Handle, title: &'static str) -> Self {
        let variants = self.variants.into_iter().map(|variant| variant.within(runtime.clone()));
        Self { title, variants: variants.collect(), ..self }
    }

    /// The median of a variant's rates.
    pub(crate) fn rate(&self, name: &str) -> f64 {
        let at = self.place(name);
        median(self.rounds.iter().map(|rates| rates[at]).collect())
    }

    /// The median of what a variant's rate was of a floor's in the same round.
    pub(crate) fn ratio(&self, name: &str, floor: &str) -> f64 {
        let (at, floor) = (self.place(name), self.place(floor));
        median(self.rounds.iter().map(|rates| rates[at] / rates[floor]).collect())
    }

    /// The fastest of some floors. Picked by the medians: picking in each round anew would take the
    /// luckier one.
    pub(crate) fn fastest<'f>(&self, floors: &[&'f str]) -> &'f str {
        let by_rate = |one: &&&str, other: &&&str| self.rate(one).total_cmp(&self.rate(other));
        floors.iter().max_by(by_rate).copied().unwrap_or_default()
    }

    fn place(&self, name: &str) -> usize {
        let found = self.variants.iter().position(|variant| variant.name == name);
        found.expect("a variant of this group")
    }

    fn measure(&mut self, runtime: &Handle) {
        let mut order: Vec<usize> = (0..self.variants.len()).collect();
        fastrand::shuffle(&mut order);
        let mut rates = vec![0.0; order.len()];
        for at in order {
            rates[at] = self.variants[at].rate(runtime, self.workers.count(), self.round);
        }
        self.rounds.push(rates);
    }
}

/// Measures all groups in turns until the time is over, at least three times.
pub(crate) fn run(runtime: &Handle, groups: &mut [Group], length: Duration) {
    // The first round warms up allocator, caches and tables, and doesn't count.
    for group in groups.iter_mut() {
        group.measure(runtime);
        group.rounds.clear();
    }
    let started = Instant::now();
    let mut rounds = 0;
    while rounds < 3 || started.elapsed() < length {
        for group in groups.iter_mut() {
            group.measure(runtime);
        }
        rounds += 1;
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
