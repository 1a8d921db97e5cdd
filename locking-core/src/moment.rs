use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

/// A point on a monotonic clock that also counts the time for which the machine was suspended.
///
/// Guards judge their own validity by it. On Linux, Android and Apple systems it is tokio's clock
/// plus the time spent suspended; elsewhere it is tokio's clock alone (on Windows that counts
/// suspend by itself). No wall clock takes part. In a test with tokio's paused clock it follows
/// that clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// Later than every moment that is ever reached: the deadline of what has none.
    pub const NEVER: Self = Self(u64::MAX);

    /// The present moment.
    #[must_use]
    pub fn now() -> Self {
        let anchor = Anchor::get();
        let awake = Instant::now().into_std().saturating_duration_since(anchor.awake);
        Self(nanos(awake + suspended_since(anchor)))
    }

    /// The moment this much later; [`Self::NEVER`] at most.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// The time from an earlier moment to this one; zero if that one is later.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    pub(crate) const fn to_bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// Where the clocks stood when the process first asked.
struct Anchor {
    /// An hour before the first reading, so that a paused clock a little behind still has a moment.
    awake: std::time::Instant,
    /// [`ahead`] at that reading.
    ahead: Duration,
}

impl Anchor {
    fn get() -> &'static Self {
        static ANCHOR: OnceLock<Anchor> = OnceLock::new();
        ANCHOR.get_or_init(|| {
            let now = std::time::Instant::now();
            Self {
                awake: now.checked_sub(Duration::from_secs(3600)).unwrap_or(now),
                ahead: ahead(),
            }
        })
    }
}

/// By how much the clock that counts suspend is ahead of the one that doesn't, more than at the
/// anchor. Between suspends both run at the same rate.
fn suspended_since(anchor: &Anchor) -> Duration {
    ahead().saturating_sub(anchor.ahead)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn ahead() -> Duration {
    use rustix::time::{ClockId, clock_gettime};

    // The awake clock is read first: a pause between the two readings makes a guard believe that
    // more time has gone, never less.
    let awake = clock_gettime(ClockId::Monotonic);
    let all = clock_gettime(ClockId::Boottime);
    timespec(&all).saturating_sub(timespec(&awake))
}

#[cfg(target_vendor = "apple")]
fn ahead() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    use std::time::Instant;

    // `Instant` stands still during suspend on these systems, `CLOCK_MONOTONIC` does not.
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    let awake = start.elapsed();
    timespec(&clock_gettime(ClockId::Monotonic)).saturating_sub(awake)
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn timespec(time: &rustix::time::Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn ahead() -> Duration {
    Duration::ZERO
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_never_go_back() {
        let mut last = Moment::now();
        for _ in 0..1000 {
            let now = Moment::now();
            // The two readings behind a moment can lie a preemption apart.
            assert!(now.saturating_add(Duration::from_millis(50)) >= last);
            last = now;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn moments_follow_a_paused_clock() {
        let before = Moment::now();
        tokio::time::advance(Duration::from_secs(60)).await;
        let passed = Moment::now().saturating_since(before);
        assert!(
            passed >= Duration::from_secs(60) && passed < Duration::from_secs(61),
            "{passed:?}"
        );
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Moment::now().saturating_add(Duration::MAX), Moment::NEVER);
        assert_eq!(Moment::now().saturating_since(Moment::NEVER), Duration::ZERO);
    }
}
