//! Durations in a provider's options and other inputs, for `#[serde(with = "…")]`.
//!
//! ```
//! use std::time::Duration;
//!
//! #[derive(serde::Deserialize)]
//! struct Options {
//!     /// `"5s"`, `"250ms"`, or a number of seconds.
//!     #[serde(with = "locking_core::config::duration")]
//!     wait_locking_timeout: Duration,
//!     /// `"5ms"` only: the original module counted it in milliseconds, so a bare number is refused.
//!     #[serde(with = "locking_core::config::duration::human_only")]
//!     default_retry_interval: Duration,
//! }
//!
//! let options: Options = serde_json::from_str(
//!     r#"{ "wait_locking_timeout": 2.5, "default_retry_interval": "5ms" }"#,
//! )?;
//! assert_eq!(options.wait_locking_timeout, Duration::from_millis(2500));
//! assert_eq!(options.default_retry_interval, Duration::from_millis(5));
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

use crate::time::Wait;

/// Reads a text such as `"5s"` or `"250ms"`, or a number of seconds.
///
/// # Errors
///
/// The deserializer's, if it is neither, or negative.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(Written { seconds: true })
}

/// Writes a text such as `"2s 500ms"`, which is read as the same duration.
///
/// # Errors
///
/// The serializer's.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

/// Durations that are written with their unit, never as a bare number.
pub mod human_only {
    use std::time::Duration;

    use serde::de::Deserializer;

    pub use super::serialize;

    /// Reads a text such as `"5ms"`.
    ///
    /// # Errors
    ///
    /// The deserializer's, if it is no such text; for a bare number it says what to write.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        deserializer.deserialize_any(super::Written { seconds: false })
    }
}

struct Written {
    /// Whether a bare number is a number of seconds; if not it is refused.
    seconds: bool,
}

impl Written {
    fn number<E: Error>(&self, number: f64) -> Result<Duration, E> {
        if !self.seconds {
            return Err(E::custom(format!(
                "a bare number has no unit here: write \"{number}ms\" for milliseconds, \"{number}s\" for seconds"
            )));
        }
        let duration = Duration::try_from_secs_f64(number).map_err(|_| {
            E::custom(format!("{number} is no duration: write seconds, zero or more"))
        })?;
        representable(duration)
    }
}

/// A duration that a wait or an expiry can have.
fn representable<E: Error>(duration: Duration) -> Result<Duration, E> {
    if duration > Wait::MAX {
        let days = Wait::MAX.as_secs() / 86_400;
        return Err(E::custom(format!("that is too long: at most {days} days are allowed")));
    }
    Ok(duration)
}

impl Visitor<'_> for Written {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"5s\" or \"250ms\"")?;
        if self.seconds { f.write_str(", or a number of seconds") } else { Ok(()) }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        // A number that came through an environment variable is a text.
        if let Ok(number) = text.trim().parse::<f64>() {
            return self.number(number);
        }
        let duration = humantime::parse_duration(text).map_err(|_| {
            E::custom(format!("{text:?} is no duration such as \"5s\" or \"250ms\""))
        })?;
        representable(duration)
    }

    #[expect(clippy::cast_precision_loss, reason = "durations in configurations are small")]
    fn visit_u64<E: Error>(self, number: u64) -> Result<Duration, E> {
        self.number(number as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "durations in configurations are small")]
    fn visit_i64<E: Error>(self, number: i64) -> Result<Duration, E> {
        self.number(number as f64)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Duration, E> {
        self.number(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_duration_is_written_with_its_unit_or_in_seconds() {
        let read = |value: Value| deserialize(value).ok();
        assert_eq!(read(json!("250ms")), Some(Duration::from_millis(250)));
        assert_eq!(read(json!(5)), Some(Duration::from_secs(5)));
        assert_eq!(read(json!(0.5)), Some(Duration::from_millis(500)));
        assert_eq!(read(json!("1.5")), Some(Duration::from_millis(1500)));
        assert_eq!(read(json!(-1)), None);
        assert_eq!(read(json!("soon")), None);
        assert_eq!(read(json!("9999999999d")), None);
        assert_eq!(read(json!(1e18)), None);
        assert_eq!(read(json!(true)), None);
    }

    #[test]
    fn a_duration_is_read_as_it_was_written() {
        for duration in [Duration::ZERO, Duration::from_nanos(2_500_000_001), Wait::MAX] {
            let written = serialize(&duration, serde_json::value::Serializer).expect("a text");
            assert_eq!(deserialize(written).ok(), Some(duration));
        }
    }

    #[test]
    fn a_bare_retry_interval_is_refused_with_what_to_write() {
        let error = human_only::deserialize(json!(5)).expect_err("no unit").to_string();
        assert!(error.contains("write \"5ms\""), "{error}");
        assert_eq!(human_only::deserialize(json!("5ms")).ok(), Some(Duration::from_millis(5)));
    }
}
