use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::invalid::{InvalidInput, TextFault};
use crate::key::LockKey;

/// Who holds a key.
///
/// Same limits as a [`LockKey`]; the text `*` is reserved. An owner that is granted a key again
/// re-enters it; two acquisitions without an owner are two different holders.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OwnerId(SmolStr);

impl OwnerId {
    /// The longest owner, in bytes.
    pub const MAX_LEN: usize = LockKey::MAX_LEN;

    /// Checks a text and makes it an owner.
    ///
    /// # Errors
    ///
    /// [`InvalidInput::Owner`] if the text is empty, longer than [`Self::MAX_LEN`] bytes, has a
    /// NUL in it, or is `*`.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidInput> {
        let fault = TextFault::of(text.as_ref(), Self::MAX_LEN)
            .or_else(|| (text.as_ref() == "*").then_some(TextFault::Reserved));
        match fault {
            None => Ok(Self(SmolStr::new(text))),
            Some(fault) => Err(InvalidInput::owner(text.as_ref(), fault)),
        }
    }

    /// An owner that nobody else has: a random part drawn once per process, and a count.
    ///
    /// Guards and jobs hold under one of these, so they are never re-entered.
    #[must_use]
    pub fn fresh() -> Self {
        static PROCESS: OnceLock<[u8; PROCESS_LEN]> = OnceLock::new();
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let process = PROCESS.get_or_init(process_part);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(numbered(process, count, &mut [0; BUFFER]).into())
    }

    /// The owner's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// 80 random bits, five in a character: with a count of up to seven characters behind them, an owner
/// needs no allocation.
pub(crate) const PROCESS_LEN: usize = 16;
/// Room for the longest count, too.
pub(crate) const BUFFER: usize = PROCESS_LEN + 13;
/// Crockford's base 32: nothing in it is taken for something else.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Random bits from the operating system. Where it has none to give, the standard library's
/// per-process hash keys stand in: they too differ from process to process.
pub(crate) fn process_part() -> [u8; PROCESS_LEN] {
    use std::hash::{BuildHasher, RandomState};

    let mut bits = [0; PROCESS_LEN];
    if getrandom::fill(&mut bits).is_err() {
        let (high, low) = bits.split_at_mut(8);
        high.copy_from_slice(&RandomState::new().hash_one(std::process::id()).to_ne_bytes());
        low.copy_from_slice(&RandomState::new().hash_one(std::time::Instant::now()).to_ne_bytes());
    }
    bits.map(|byte| DIGITS[usize::from(byte % 32)])
}

/// `process` and a number behind it. Guards are made often, and `format!` would take as long as the
/// rest of their making.
pub(crate) fn numbered<'a>(
    process: &[u8; PROCESS_LEN],
    mut number: u64,
    buffer: &'a mut [u8; BUFFER],
) -> &'a str {
    let mut start = BUFFER;
    loop {
        start -= 1;
        buffer[start] = DIGITS[(number % 32) as usize];
        number /= 32;
        if number == 0 {
            break;
        }
    }
    start -= PROCESS_LEN;
    buffer[start..start + PROCESS_LEN].copy_from_slice(process);
    std::str::from_utf8(&buffer[start..]).expect("digits are ASCII")
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
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
    fn owners_of_different_processes_and_counts_differ() {
        assert_ne!(process_part(), process_part());
        let process = [b'p'; PROCESS_LEN];
        let owner = |number| numbered(&process, number, &mut [0; BUFFER]).to_owned();
        assert_eq!(owner(0), "pppppppppppppppp0");
        assert_eq!(owner(32), "pppppppppppppppp10");
        assert_eq!(owner(u64::MAX), "ppppppppppppppppfzzzzzzzzzzzz");
    }

    #[test]
    fn the_reserved_owner_is_refused_with_the_reason() {
        let error = OwnerId::new("*").expect_err("reserved");
        assert!(error.to_string().contains("reserved"), "{error}");
    }
}
