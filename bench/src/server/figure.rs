use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use serde_json::{Value, json};

use crate::report::reached;
use crate::rounds::median;

/// Something that is counted while rates are measured, once a round.
pub(crate) struct Figure {
    title: String,
    bound: Bound,
    samples: Samples,
}

pub(crate) type Samples = Rc<RefCell<Vec<f64>>>;

/// What a figure should be.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    pub(crate) fn new(title: impl Into<String>, bound: Bound) -> Self {
        Self { title: title.into(), bound, samples: Samples::default() }
    }

    /// One that was counted once.
    pub(crate) fn of(title: impl Into<String>, bound: Bound, value: f64) -> Self {
        let figure = Self::new(title, bound);
        figure.samples.borrow_mut().extend([value; 2]);
        figure
    }

    /// Where the counts of the rounds go.
    pub(crate) fn samples(&self) -> Samples {
        Rc::clone(&self.samples)
    }

    /// The median; the first round warms up, and doesn't count.
    fn value(&self) -> f64 {
        median(self.samples.borrow().iter().skip(1).copied().collect())
    }

    fn is_reached(&self) -> bool {
        match self.bound {
            Bound::AtLeast(least) => self.value() >= least,
            Bound::AtMost(most) => self.value() <= most,
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let (Bound::AtLeast(target) | Bound::AtMost(target)) = self.bound;
        json!({
            "title": self.title,
            "value": self.value(),
            "target": target,
            "reached": self.is_reached(),
        })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, bound, .. } = self;
        write!(f, "{title}: {:.2}; target {bound}: {}", self.value(), reached(self.is_reached()))
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::AtMost(most) => write!(f, "at most {most}"),
        }
    }
}
