use std::time::Duration;

/// How long to wait between two attempts: doubling from `first` to `longest`, each time a random
/// part between half and all of it, so that many clients don't ask in step.
///
/// The randomised exponential back-off of "Exponential Backoff And Jitter" (AWS Architecture Blog,
/// 2015), with half of the interval kept.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// A back-off that starts at `first` and never waits longer than `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        let first = first.max(Duration::from_millis(1));
        Self { next: first, longest: longest.max(first) }
    }

    /// The time to wait before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        let whole = self.next.min(self.longest);
        self.next = whole.saturating_mul(2).min(self.longest);
        whole.mul_f64(fastrand::f64() / 2.0 + 0.5)
    }
}

/// From 5 ms to 200 ms, as in the original module.
impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_millis(5), Duration::from_millis(200))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_longest_and_stay_within_half_of_it() {
        let mut backoff = Backoff::default();
        for whole in [5, 10, 20, 40, 80, 160, 200, 200] {
            let (whole, delay) = (Duration::from_millis(whole), backoff.next_delay());
            assert!(delay <= whole && delay >= whole / 2, "{delay:?} of {whole:?}");
        }
    }
}
