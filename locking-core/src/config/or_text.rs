//! Numbers and truth values in a provider's options that may be written as a text, too, for
//! `#[serde(deserialize_with = "…")]`: what comes from an environment variable is one.
//!
//! ```
//! #[derive(serde::Deserialize)]
//! struct Options {
//!     #[serde(deserialize_with = "locking_core::config::or_text::deserialize")]
//!     port: u16,
//! }
//!
//! for written in [r#"{ "port": 5432 }"#, r#"{ "port": "5432" }"#] {
//!     let options: Options = serde_json::from_str(written)?;
//!     assert_eq!(options.port, 5432);
//! }
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, Unexpected, Visitor};

/// Reads the value, or a text with it.
///
/// # Errors
///
/// The deserializer's, if it is neither.
pub fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + FromStr,
{
    deserializer.deserialize_any(OrText(PhantomData))
}

/// The same for an option that may be left out, with `#[serde(default)]` beside it.
///
/// # Errors
///
/// Those of [`deserialize`].
pub fn some<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + FromStr,
{
    let written = Option::<Written<T>>::deserialize(deserializer)?;
    Ok(written.map(|Written(value)| value))
}

struct Written<T>(T);

impl<'de, T: Deserialize<'de> + FromStr> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer).map(Self)
    }
}

struct OrText<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + FromStr> Visitor<'de> for OrText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or a text with one", type_name::<T>())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.trim().parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
        T::deserialize(value.into_deserializer())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        T::deserialize(value.into_deserializer())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        T::deserialize(value.into_deserializer())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        T::deserialize(value.into_deserializer())
    }
}
