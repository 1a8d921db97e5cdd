use std::fmt;
use std::time::Duration;

use crate::key::LockKey;
use crate::time::{Expiry, Wait};
use crate::workflow::WorkflowRun;

/// A call's own mistake, found before any I/O. Each says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidInput {
    /// The call named no key; it would have run unlocked.
    #[error("no key given: name at least one key to lock")]
    NoKeys,
    /// A text is no valid key.
    #[error("invalid key {text:?}: {fault}")]
    #[non_exhaustive]
    Key {
        /// The text, shortened to its first characters.
        text: String,
        /// What is wrong with it.
        fault: TextFault,
    },
    /// A text is no valid owner.
    #[error("invalid owner {text:?}: {fault}")]
    #[non_exhaustive]
    Owner {
        /// The text, shortened to its first characters.
        text: String,
        /// What is wrong with it.
        fault: TextFault,
    },
    /// A lease can't last that long, or that short.
    #[error("invalid expiry of {given:?}: it must be more than zero and at most {} days", Expiry::MAX.as_secs() / 86_400)]
    #[non_exhaustive]
    Expiry {
        /// What was asked for.
        given: Duration,
    },
    /// A wait can't last that long.
    #[error("invalid wait of {given:?}: it must be at most {} days, or unlimited", Wait::MAX.as_secs() / 86_400)]
    #[non_exhaustive]
    Wait {
        /// What was asked for.
        given: Duration,
    },
    /// A guard's lease is too short to be renewed in time.
    #[error(
        "invalid guard lease of {given:?}: it must be at least {least:?}, to leave time for its renewal"
    )]
    #[non_exhaustive]
    GuardLease {
        /// What was asked for.
        given: Duration,
        /// The shortest lease that a guard can have.
        least: Duration,
    },
    /// A text is no valid id of a workflow's run.
    #[error(
        "invalid id {text:?} of a workflow's run: it must have 1 to {} bytes, none of them NUL",
        WorkflowRun::MAX_ID_LEN
    )]
    #[non_exhaustive]
    RunId {
        /// The text, shortened to its first characters.
        text: String,
    },
    /// A store that can't be reached would be asked again without a pause.
    #[error("invalid retry interval of {given:?}: it must be more than zero")]
    #[non_exhaustive]
    RetryInterval {
        /// What was asked for.
        given: Duration,
    },
}

impl InvalidInput {
    pub(crate) fn key(text: &str, fault: TextFault) -> Self {
        Self::Key { text: shortened(text), fault }
    }

    pub(crate) fn owner(text: &str, fault: TextFault) -> Self {
        Self::Owner { text: shortened(text), fault }
    }

    pub(crate) fn run_id(text: &str) -> Self {
        Self::RunId { text: shortened(text) }
    }
}

/// What is wrong with the text of a key or an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextFault {
    /// It has no characters.
    Empty,
    /// It has more bytes than are allowed.
    #[non_exhaustive]
    TooLong {
        /// How many bytes it has.
        bytes: usize,
    },
    /// It has a NUL character in it, which not every store can keep.
    Nul,
    /// It is `*`, which stands for every owner.
    Reserved,
}

impl TextFault {
    pub(crate) fn of(text: &str, longest: usize) -> Option<Self> {
        match text.len() {
            0 => Some(Self::Empty),
            bytes if bytes > longest => Some(Self::TooLong { bytes }),
            _ => text.as_bytes().contains(&0).then_some(Self::Nul),
        }
    }
}

impl fmt::Display for TextFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "it is empty, 1 to {} bytes are allowed", LockKey::MAX_LEN),
            Self::TooLong { bytes } => {
                write!(f, "it has {bytes} bytes, 1 to {} are allowed", LockKey::MAX_LEN)
            }
            Self::Nul => f.write_str("it has a NUL character, any other character is allowed"),
            Self::Reserved => f.write_str("it is reserved, any other text is allowed"),
        }
    }
}

/// Enough of a text to recognise it by.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_what_would_be_right() {
        let long = "é".repeat(600);
        assert_eq!(TextFault::of(&long, 1024), Some(TextFault::TooLong { bytes: 1200 }));
        let error = InvalidInput::key(&long, TextFault::TooLong { bytes: 1200 }).to_string();
        assert!(error.contains("1200 bytes") && error.contains("1024"), "{error}");
        assert!(error.len() < 200, "a long key is shortened: {error}");
    }

    #[test]
    fn the_longest_key_is_valid_and_one_byte_more_is_not() {
        assert_eq!(TextFault::of(&"k".repeat(1024), 1024), None);
        assert!(TextFault::of(&"k".repeat(1025), 1024).is_some());
        assert_eq!(TextFault::of("a\0b", 1024), Some(TextFault::Nul));
        assert_eq!(TextFault::of("", 1024), Some(TextFault::Empty));
    }
}
