use std::fmt;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::invalid::InvalidInput;
use crate::key::LockKey;
use crate::one_or_many::OneOrMany;

/// One or more keys, in byte order, each once.
///
/// What every operation on keys takes. A call's own order and repetitions mean nothing, so they
/// are gone here, and a provider that goes through the set from front to back takes the keys of
/// all its callers in one total order.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeySet(OneOrMany<LockKey>);

impl KeySet {
    /// The set of these keys.
    ///
    /// # Errors
    ///
    /// [`InvalidInput::NoKeys`] if there are none.
    pub fn new(keys: impl IntoIterator<Item = LockKey>) -> Result<Self, InvalidInput> {
        let mut keys: Vec<LockKey> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() {
            return Err(InvalidInput::NoKeys);
        }
        Ok(Self(keys.into()))
    }

    /// The first key in byte order; a set always has one.
    #[must_use]
    pub fn first(&self) -> &LockKey {
        &self.0[0]
    }
}

impl From<LockKey> for KeySet {
    fn from(key: LockKey) -> Self {
        Self(OneOrMany::One(key))
    }
}

impl Deref for KeySet {
    type Target = [LockKey];

    fn deref(&self) -> &[LockKey] {
        &self.0
    }
}

impl<'a> IntoIterator for &'a KeySet {
    type Item = &'a LockKey;
    type IntoIter = std::slice::Iter<'a, LockKey>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl Serialize for KeySet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl<'de> Deserialize<'de> for KeySet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

/// Keys as they are written.
struct Written;

impl<'de> Visitor<'de> for Written {
    type Value = KeySet;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key, or a sequence of keys")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<KeySet, E> {
        key.into_keys().map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<KeySet, A::Error> {
        let mut keys: Vec<LockKey> = Vec::new();
        while let Some(key) = sequence.next_element()? {
            keys.push(key);
        }
        KeySet::new(keys).map_err(A::Error::custom)
    }
}

/// What can name the keys of a call: one key or several, `&str`, `String` or [`LockKey`], in an
/// array, a slice or a `Vec`.
///
/// ```
/// use locking_core::{IntoKeys, KeySet};
///
/// let one = "prod_123".into_keys()?;
/// let two = ["b", "a", "b"].into_keys()?;
/// let many = (1..=3).map(|n| format!("prod_{n}")).collect::<Vec<_>>().into_keys()?;
///
/// assert_eq!((one.len(), two.len(), many.len()), (1, 2, 3));
/// assert_eq!(two.first().as_str(), "a");
/// # Ok::<(), locking_core::InvalidInput>(())
/// ```
pub trait IntoKeys {
    /// Checks the keys and makes them a set.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput::NoKeys`] if there are none.
    /// - [`InvalidInput::Key`] if one of them is no valid key.
    fn into_keys(self) -> Result<KeySet, InvalidInput>;
}

impl IntoKeys for KeySet {
    fn into_keys(self) -> Result<KeySet, InvalidInput> {
        Ok(self)
    }
}

impl IntoKeys for &KeySet {
    fn into_keys(self) -> Result<KeySet, InvalidInput> {
        Ok(self.clone())
    }
}

/// One key of the given type, and every collection of them.
macro_rules! into_keys {
    ($($one:ty),+ $(,)?) => {$(
        impl IntoKeys for $one {
            fn into_keys(self) -> Result<KeySet, InvalidInput> {
                Ok(KeySet::from(self.as_key()?))
            }
        }

        impl<const N: usize> IntoKeys for [$one; N] {
            fn into_keys(self) -> Result<KeySet, InvalidInput> {
                collect(self.iter())
            }
        }

        impl IntoKeys for &[$one] {
            fn into_keys(self) -> Result<KeySet, InvalidInput> {
                collect(self.iter())
            }
        }

        impl<const N: usize> IntoKeys for &[$one; N] {
            fn into_keys(self) -> Result<KeySet, InvalidInput> {
                collect(self.iter())
            }
        }

        impl IntoKeys for Vec<$one> {
            fn into_keys(self) -> Result<KeySet, InvalidInput> {
                collect(self.iter())
            }
        }

        impl IntoKeys for &Vec<$one> {
            fn into_keys(self) -> Result<KeySet, InvalidInput> {
                collect(self.iter())
            }
        }
    )+};
}

into_keys!(&str, String, &String, LockKey, &LockKey);

fn collect<'a, K: AsKey + 'a>(keys: impl Iterator<Item = &'a K>) -> Result<KeySet, InvalidInput> {
    let keys = keys.map(AsKey::as_key).collect::<Result<Vec<LockKey>, _>>()?;
    KeySet::new(keys)
}

/// One key, by whatever type names it.
trait AsKey {
    fn as_key(&self) -> Result<LockKey, InvalidInput>;
}

impl AsKey for &str {
    fn as_key(&self) -> Result<LockKey, InvalidInput> {
        LockKey::new(*self)
    }
}

impl AsKey for String {
    fn as_key(&self) -> Result<LockKey, InvalidInput> {
        LockKey::new(self.as_str())
    }
}

impl AsKey for &String {
    fn as_key(&self) -> Result<LockKey, InvalidInput> {
        LockKey::new(self.as_str())
    }
}

impl AsKey for LockKey {
    fn as_key(&self) -> Result<LockKey, InvalidInput> {
        Ok(self.clone())
    }
}

impl AsKey for &LockKey {
    fn as_key(&self) -> Result<LockKey, InvalidInput> {
        Ok((*self).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_call_are_sorted_and_each_is_there_once() {
        let keys = ["b", "a", "b"].into_keys().expect("valid keys");
        let texts: Vec<_> = keys.iter().map(LockKey::as_str).collect();
        assert_eq!(texts, ["a", "b"]);
    }

    #[test]
    fn an_empty_call_names_no_keys() {
        let none: [&str; 0] = [];
        assert!(matches!(none.into_keys(), Err(InvalidInput::NoKeys)));
        assert!(matches!(Vec::<String>::new().into_keys(), Err(InvalidInput::NoKeys)));
    }

    #[test]
    fn every_natural_way_to_name_keys_is_accepted() {
        let owned = String::from("a");
        let key = LockKey::new("a").expect("valid key");
        let sets = [
            "a".into_keys(),
            owned.clone().into_keys(),
            (&owned).into_keys(),
            key.clone().into_keys(),
            (&key).into_keys(),
            ["a"].into_keys(),
            (&["a", "a"]).into_keys(),
            vec!["a"].into_keys(),
            (&vec![owned.clone()]).into_keys(),
            vec![owned].as_slice().into_keys(),
        ];
        for set in sets {
            assert_eq!(set.expect("valid keys").first(), &key);
        }
    }

    #[test]
    fn keys_are_written_as_a_sequence_and_one_is_read_without_it() {
        let read = serde_json::from_str::<KeySet>;
        let two = read(r#"["b", "a", "b"]"#).expect("keys");
        assert_eq!(serde_json::to_string(&two).expect("written"), r#"["a","b"]"#);
        assert_eq!(read(r#""a""#).expect("a key"), "a".into_keys().expect("a key"));
        let refused = ["[]", r#"["a", ""]"#, r#""""#, "5"].map(|keys| read(keys).map(drop));
        let refused = refused.map(|answer| answer.expect_err("no keys").to_string());
        assert!(
            refused[0].contains("at least one key") && refused[3].contains("a sequence of keys")
        );
        assert!(refused[1].contains("invalid key") && refused[2].contains("invalid key"));
    }

    #[test]
    fn an_invalid_key_among_several_is_named() {
        let error = ["good", "bad\0"].into_keys().expect_err("NUL is refused");
        assert!(error.to_string().contains("bad"), "{error}");
    }
}
