use std::time::Duration;

use tokio::time::Instant;

use crate::invalid::InvalidInput;

/// Days enough for every lease and wait, few enough for every clock and store to represent.
const CENTURY: Duration = Duration::from_secs(36_525 * 86_400);

/// How long a lease lasts: more than zero, at most a [century](Self::MAX).
///
/// A store that counts in milliseconds rounds up, never down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Expiry(Duration);

impl Expiry {
    /// The longest expiry: 36,525 days.
    pub const MAX: Duration = CENTURY;

    /// Checks a duration and makes it an expiry.
    ///
    /// # Errors
    ///
    /// [`InvalidInput::Expiry`] if it is zero or longer than [`Self::MAX`].
    pub const fn new(after: Duration) -> Result<Self, InvalidInput> {
        if after.is_zero() || after.as_nanos() > Self::MAX.as_nanos() {
            return Err(InvalidInput::Expiry { given: after });
        }
        Ok(Self(after))
    }

    /// How long the lease lasts.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// How long the lease lasts in whole milliseconds, rounded up; at least 1.
    #[must_use]
    pub fn as_millis_rounded_up(self) -> u64 {
        u64::try_from(self.0.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

/// How long a call is ready to wait for keys that others hold.
///
/// A [`Duration`] converts into one. Zero tries once, like not waiting at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// At most this long; zero tries once.
    For(Duration),
    /// Until the keys are granted, however long that takes.
    Unlimited,
}

impl Wait {
    /// The longest wait that has an end: 36,525 days.
    pub const MAX: Duration = CENTURY;

    /// Turns the wait into one absolute deadline for the whole call, counted from now.
    ///
    /// # Errors
    ///
    /// [`InvalidInput::Wait`] if it is longer than [`Self::MAX`].
    pub fn deadline(self) -> Result<WaitUntil, InvalidInput> {
        self.deadline_from(Instant::now)
    }

    /// The same, counted from a moment, which is read only where there is a deadline.
    pub(crate) fn deadline_from(
        self,
        from: impl FnOnce() -> Instant,
    ) -> Result<WaitUntil, InvalidInput> {
        match self {
            Self::Unlimited => Ok(WaitUntil::Forever),
            Self::For(wait) if wait.is_zero() => Ok(WaitUntil::Now),
            Self::For(wait) if wait > Self::MAX => Err(InvalidInput::Wait { given: wait }),
            Self::For(wait) => Ok(WaitUntil::Deadline(from() + wait)),
        }
    }
}

impl From<Duration> for Wait {
    fn from(wait: Duration) -> Self {
        Self::For(wait)
    }
}

/// Until when an acquisition waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitUntil {
    /// It doesn't wait: a refusal is the *held* error.
    Now,
    /// Until this moment: then it fails with the *timed out* error.
    Deadline(Instant),
    /// Until it is granted.
    Forever,
}

impl WaitUntil {
    /// The deadline, where there is one.
    #[must_use]
    pub fn instant(self) -> Option<Instant> {
        match self {
            Self::Deadline(deadline) => Some(deadline),
            Self::Now | Self::Forever => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_of_zero_or_of_more_than_a_century_is_refused() {
        assert!(Expiry::new(Duration::ZERO).is_err());
        assert!(Expiry::new(Expiry::MAX).is_ok());
        let error = Expiry::new(Duration::MAX).expect_err("too long").to_string();
        assert!(error.contains("36525 days"), "{error}");
    }

    #[test]
    fn milliseconds_are_rounded_up() {
        let expiry = |d| Expiry::new(d).expect("valid").as_millis_rounded_up();
        assert_eq!(expiry(Duration::from_nanos(1)), 1);
        assert_eq!(expiry(Duration::from_millis(1500)), 1500);
        assert_eq!(expiry(Duration::from_micros(1500)), 2);
    }

    #[test]
    fn a_wait_of_zero_tries_once_and_one_too_long_is_refused() {
        assert_eq!(Wait::For(Duration::ZERO).deadline(), Ok(WaitUntil::Now));
        assert_eq!(Wait::Unlimited.deadline(), Ok(WaitUntil::Forever));
        assert!(Wait::For(Wait::MAX).deadline().is_ok());
        assert!(Wait::For(Duration::MAX).deadline().is_err());
    }
}
