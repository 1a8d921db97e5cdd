use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::invalid::{InvalidInput, TextFault};

/// The name of what is locked.
///
/// UTF-8, 1 to [1,024](Self::MAX_LEN) bytes, no NUL. Keys are compared byte by byte: no case
/// folding, no Unicode normalisation, no rules about prefixes. A `LockKey` that exists is valid,
/// so a provider never checks again. Cloning is cheap.
///
/// ```
/// use locking_core::LockKey;
///
/// let key = LockKey::new("prod_123")?;
/// assert_eq!(key.as_str(), "prod_123");
/// assert!(LockKey::new("").is_err());
/// # Ok::<(), locking_core::InvalidInput>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LockKey(SmolStr);

impl LockKey {
    /// The longest key, in bytes.
    pub const MAX_LEN: usize = 1024;

    /// Checks a text and makes it a key.
    ///
    /// # Errors
    ///
    /// [`InvalidInput::Key`] if the text is empty, longer than [`Self::MAX_LEN`] bytes, or has a
    /// NUL in it.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidInput> {
        match TextFault::of(text.as_ref(), Self::MAX_LEN) {
            None => Ok(Self(SmolStr::new(text))),
            Some(fault) => Err(InvalidInput::key(text.as_ref(), fault)),
        }
    }

    /// The key's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl AsRef<str> for LockKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Lets a map keyed by `LockKey` be searched with a `&str`.
impl Borrow<str> for LockKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for LockKey {
    type Error = InvalidInput;

    fn try_from(text: String) -> Result<Self, InvalidInput> {
        Self::new(text)
    }
}

impl TryFrom<&str> for LockKey {
    type Error = InvalidInput;

    fn try_from(text: &str) -> Result<Self, InvalidInput> {
        Self::new(text)
    }
}

impl From<LockKey> for String {
    fn from(key: LockKey) -> Self {
        key.as_str().to_owned()
    }
}
