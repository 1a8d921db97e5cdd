use serde::{Deserialize, Serialize};

use crate::invalid::InvalidInput;
use crate::owner::OwnerId;

/// Which run of a workflow. It is kept as the owner of what the run locks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct RunId(OwnerId);

impl RunId {
    /// The longest id, in bytes: with the prefix it is the longest owner.
    pub(super) const MAX_LEN: usize = OwnerId::MAX_LEN - PREFIX.len();

    pub(super) fn new(text: &str) -> Result<Self, InvalidInput> {
        let owner = (!text.is_empty()).then(|| OwnerId::new(format!("{PREFIX}{text}")).ok());
        owner.flatten().map(Self).ok_or_else(|| InvalidInput::run_id(text))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0.as_str()[PREFIX.len()..]
    }

    pub(super) fn owner(&self) -> &OwnerId {
        &self.0
    }
}

/// What tells the owners of runs from those that a program names itself.
const PREFIX: &str = "workflow/";

impl TryFrom<String> for RunId {
    type Error = InvalidInput;

    fn try_from(text: String) -> Result<Self, InvalidInput> {
        Self::new(&text)
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_id_is_valid_and_one_byte_more_is_not() {
        let id = "r".repeat(RunId::MAX_LEN);
        let run = RunId::new(&id).expect("the longest id");
        assert_eq!((run.as_str(), run.owner().as_str().len()), (&*id, OwnerId::MAX_LEN));

        let error = RunId::new(&format!("{id}r")).expect_err("too long").to_string();
        assert!(error.contains("run") && error.contains("1 to 1015 bytes"), "{error}");
    }

    #[test]
    fn an_empty_id_and_one_with_a_nul_are_refused() {
        assert!(matches!(RunId::new(""), Err(InvalidInput::RunId { .. })));
        assert!(matches!(RunId::new("a\0b"), Err(InvalidInput::RunId { .. })));
    }
}
