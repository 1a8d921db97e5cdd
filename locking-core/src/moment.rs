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
        Self::of(Instant::now())
    }

    /// The present moment, for whoever has just read tokio's clock and needs both.
    #[must_use]
    pub fn of(now: Instant) -> Self {
        let anchor = Anchor::get();
        let awake = nanos(now.into_std().saturating_duration_since(anchor.awake));
        let suspended =
            if anchor.is_in_step(awake) { 0 } else { nanos(suspended_since(anchor.ahead, ahead)) };
        Self(awake.saturating_add(suspended))
    }

    /// How long the machine was suspended since the process began.
    pub(crate) fn suspended() -> Duration {
        suspended_since(Anchor::get().ahead, ahead)
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

/// Less than the fixed part of a guard's margin for drift.
const NOISE: Duration = Duration::from_millis(1);

/// Where the clocks stood when the process first asked.
struct Anchor {
    /// An hour before the first reading, so that a paused clock a little behind still has a moment.
    awake: std::time::Instant,
    /// [`ahead`] at that reading.
    ahead: Duration,
    /// By how many nanoseconds the clock that counts suspend was ahead of the time since `awake`.
    lead: i64,
}

impl Anchor {
    fn get() -> &'static Self {
        static ANCHOR: OnceLock<Anchor> = OnceLock::new();
        ANCHOR.get_or_init(|| {
            let now = std::time::Instant::now();
            let awake = now.checked_sub(Duration::from_secs(3600)).unwrap_or(now);
            // A pause between two readings only ever adds.
            let lead = (0..4).map(|_| lead(nanos(awake.elapsed()))).min().unwrap_or_default();
            Self { awake, ahead: least(ahead(), ahead), lead }
        })
    }

    /// Whether the clock that counts suspend has gone as far as tokio's, which was just read: then
    /// the machine was not suspended, and tokio's clock isn't paused. It saves the third reading.
    fn is_in_step(&self, awake: u64) -> bool {
        lead(awake).abs_diff(self.lead) < nanos(NOISE)
    }
}

/// By how many nanoseconds the clock that counts suspend is ahead of another one, read before it.
fn lead(awake: u64) -> i64 {
    nanos(all()).cast_signed().saturating_sub_unsigned(awake)
}

/// By how much the clock that counts suspend is ahead of the one that doesn't, more than at the
/// anchor. Between suspends both run at the same rate.
///
/// A pause between the readings of the two clocks looks like suspend. A lease counted from such a
/// moment would be believed in for too long, so what seems to be suspend is read again.
fn suspended_since(anchor: Duration, ahead: impl Fn() -> Duration) -> Duration {
    let once = ahead();
    let settled = if once.saturating_sub(anchor) < NOISE { once } else { least(once, ahead) };
    settled.saturating_sub(anchor)
}

/// A pause only ever adds: the least of some readings is the nearest.
fn least(first: Duration, ahead: impl Fn() -> Duration) -> Duration {
    (0..3).map(|_| ahead()).fold(first, Duration::min)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn ahead() -> Duration {
    use rustix::time::{ClockId, clock_gettime};

    // The awake clock is read first: a pause between the two readings adds, and never takes away.
    let awake = clock_gettime(ClockId::Monotonic);
    all().saturating_sub(timespec(&awake))
}

/// The clock that counts suspend.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn all() -> Duration {
    timespec(&rustix::time::clock_gettime(rustix::time::ClockId::Boottime))
}

#[cfg(target_vendor = "apple")]
fn ahead() -> Duration {
    use std::time::Instant;

    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    let awake = start.elapsed();
    all().saturating_sub(awake)
}

/// The clock that counts suspend. `Instant` stands still then on these systems, this one doesn't.
#[cfg(target_vendor = "apple")]
fn all() -> Duration {
    timespec(&rustix::time::clock_gettime(rustix::time::ClockId::Monotonic))
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

/// No such clock: it is never in step with another.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn all() -> Duration {
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
        let apart = passed.abs_diff(Duration::from_secs(60));
        assert!(apart < Duration::from_millis(50), "{passed:?}");
    }

    #[test]
    fn a_pause_between_two_readings_is_not_taken_for_suspend() {
        let anchor = Duration::from_secs(7);
        let readings = [7100, 7000, 7000, 7030].map(Duration::from_millis);
        let at = std::cell::Cell::new(0);
        let suspended = suspended_since(anchor, || readings[at.replace(at.get() + 1)]);
        assert_eq!(suspended, Duration::ZERO);
    }

    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    #[test]
    fn clocks_are_in_step_unless_one_was_paused_or_the_machine_suspended() {
        let anchor = Anchor::get();
        let awake = || nanos(anchor.awake.elapsed());
        let apart = nanos(Duration::from_millis(200));
        assert!((0..100).any(|_| anchor.is_in_step(awake())));
        assert!(!anchor.is_in_step(awake() - apart), "the machine was suspended");
        assert!(!anchor.is_in_step(awake() + apart), "the clock is ahead of itself");
    }

    #[test]
    fn suspend_counts_since_the_anchor() {
        let suspended = suspended_since(Duration::from_secs(7), || Duration::from_secs(12));
        assert_eq!(suspended, Duration::from_secs(5));
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Moment::now().saturating_add(Duration::MAX), Moment::NEVER);
        assert_eq!(Moment::now().saturating_since(Moment::NEVER), Duration::ZERO);
    }
}
