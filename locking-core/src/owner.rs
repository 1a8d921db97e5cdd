use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::invalid::{InvalidInput, TextFault};
use crate::key::LockKey;

/// Who holds a key.
///
/// Same limits as a [`LockKey`]; the text `*` is reserved. An owner that is granted a key again
/// re-enters it; two acquisitions without an owner are two different holders.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OwnerId(Arc<str>);

impl OwnerId {
    /// The longest owner, in bytes.
    pub const MAX_LEN: usize = LockKey::MAX_LEN;

    /// Checks a text and makes it an owner.
    ///
    /// # Errors
    ///
    /// [`InvalidInput::Owner`] if the text is empty, longer than [`Self::MAX_LEN`] bytes, has a
    /// NUL in it, or is `*`.
    pub fn new(text: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, InvalidInput> {
        let fault = TextFault::of(text.as_ref(), Self::MAX_LEN)
            .or_else(|| (text.as_ref() == "*").then_some(TextFault::Reserved));
        match fault {
            None => Ok(Self(text.into())),
            Some(fault) => Err(InvalidInput::owner(text.as_ref(), fault)),
        }
    }

    /// An owner that nobody else has: a random part drawn once per process, and a count.
    ///
    /// Guards and jobs hold under one of these, so they are never re-entered.
    #[must_use]
    pub fn fresh() -> Self {
        static PROCESS: OnceLock<String> = OnceLock::new();
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let process = PROCESS.get_or_init(process_part);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(Arc::from(numbered(process, count, &mut [0; 64])))
    }

    /// The owner's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `prefix` and a number behind it, in a buffer that has room for both: guards are made often, and
/// `format!` would take as long as the rest of their making.
fn numbered<'a>(prefix: &str, mut number: u64, buffer: &'a mut [u8; 64]) -> &'a str {
    let mut start = buffer.len();
    loop {
        start -= 1;
        // A decimal digit.
        buffer[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    start -= prefix.len();
    buffer[start..start + prefix.len()].copy_from_slice(prefix.as_bytes());
    std::str::from_utf8(&buffer[start..]).expect("ASCII")
}

/// `guard:`, and 128 random bits from the operating system. Where it has none to give, the standard library's
/// per-process hash keys stand in: they too differ from process to process.
fn process_part() -> String {
    use std::hash::{BuildHasher, RandomState};

    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        let (high, low) = bytes.split_at_mut(8);
        high.copy_from_slice(&RandomState::new().hash_one(std::process::id()).to_ne_bytes());
        low.copy_from_slice(&RandomState::new().hash_one(std::time::Instant::now()).to_ne_bytes());
    }
    format!("guard:{:032x}:", u128::from_ne_bytes(bytes))
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl TryFrom<String> for OwnerId {
    type Error = InvalidInput;

    fn try_from(text: String) -> Result<Self, InvalidInput> {
        Self::new(text)
    }
}

impl From<OwnerId> for String {
    fn from(owner: OwnerId) -> Self {
        owner.as_str().to_owned()
    }
}

/// What can name the owner of a call: `&str`, `String` or an [`OwnerId`].
pub trait IntoOwner {
    /// Checks the owner.
    ///
    /// # Errors
    ///
    /// [`InvalidInput::Owner`] if it is no valid owner.
    fn into_owner(self) -> Result<OwnerId, InvalidInput>;
}

impl IntoOwner for OwnerId {
    fn into_owner(self) -> Result<OwnerId, InvalidInput> {
        Ok(self)
    }
}

impl IntoOwner for &OwnerId {
    fn into_owner(self) -> Result<OwnerId, InvalidInput> {
        Ok(self.clone())
    }
}

impl IntoOwner for &str {
    fn into_owner(self) -> Result<OwnerId, InvalidInput> {
        OwnerId::new(self)
    }
}

impl IntoOwner for String {
    fn into_owner(self) -> Result<OwnerId, InvalidInput> {
        OwnerId::new(self)
    }
}

impl IntoOwner for &String {
    fn into_owner(self) -> Result<OwnerId, InvalidInput> {
        OwnerId::new(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_owners_differ_and_are_valid() {
        let (one, two) = (OwnerId::fresh(), OwnerId::fresh());
        assert_ne!(one, two);
        assert_eq!(OwnerId::new(one.as_str()).expect("valid owner"), one);
    }

    #[test]
    fn a_fresh_owner_ends_in_its_number() {
        let longest = process_part();
        assert_eq!(numbered(&longest, 0, &mut [0; 64]), format!("{longest}0"));
        assert_eq!(numbered(&longest, u64::MAX, &mut [0; 64]), format!("{longest}{}", u64::MAX));
    }

    #[test]
    fn the_reserved_owner_is_refused_with_the_reason() {
        let error = OwnerId::new("*").expect_err("reserved");
        assert!(error.to_string().contains("reserved"), "{error}");
    }
}
