//! How the inputs of steps are written.

/// What a step does in a nested workflow unless it is said otherwise.
pub(super) const fn yes() -> bool {
    true
}

/// A lease's time, as a duration.
pub(super) mod ttl {
    use serde::de::{Deserializer, Error};
    use serde::ser::Serializer;

    use crate::config::duration;
    use crate::time::Expiry;

    pub(crate) fn serialize<S: Serializer>(ttl: &Expiry, serializer: S) -> Result<S::Ok, S::Error> {
        duration::serialize(&ttl.get(), serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Expiry, D::Error> {
        let ttl = duration::deserialize(from)?;
        Expiry::new(ttl).map_err(|error| D::Error::custom(format_args!("`ttl`: {error}")))
    }
}

/// A pause, as a duration with its unit.
pub(super) mod retry_interval {
    use std::time::Duration;

    use serde::de::{Deserializer, Error};

    use crate::config::duration::human_only;
    pub(crate) use crate::config::duration::serialize;
    use crate::invalid::InvalidInput;

    /// As the original's step had it.
    pub(crate) const fn default() -> Duration {
        Duration::from_millis(300)
    }

    pub(crate) const fn checked(given: Duration) -> Result<Duration, InvalidInput> {
        if given.is_zero() { Err(InvalidInput::RetryInterval { given }) } else { Ok(given) }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        checked(human_only::deserialize(from)?).map_err(D::Error::custom)
    }
}
