use fred::types::Value;

use crate::failure::Failure;

/// What the script answers to one operation: a word, and what follows it.
#[derive(Debug)]
pub(crate) struct Reply {
    word: String,
    rest: std::vec::IntoIter<Value>,
}

impl Reply {
    /// The answers of a call to so many operations: a list, or of one by itself its own.
    pub(crate) fn all(value: Value, count: usize) -> Result<Vec<Result<Self, Failure>>, Failure> {
        match value {
            own if count == 1 => Ok(vec![Self::one(own)]),
            Value::Array(replies) if replies.len() == count => {
                Ok(replies.into_iter().map(Self::one).collect())
            }
            _ => Err(Failure::unexpected()),
        }
    }

    fn one(value: Value) -> Result<Self, Failure> {
        let parts = match value {
            Value::Array(parts) => parts,
            // The usual ones, as one text.
            Value::String(text) => text.split(' ').map(Value::from).collect(),
            _ => return Err(Failure::unexpected()),
        };
        let mut rest = parts.into_iter();
        let word = rest.next().and_then(Value::into_string).ok_or_else(Failure::unexpected)?;
        let mut reply = Self { word, rest };
        if reply.word == "failed" {
            return Err(Failure::within_the_script(reply.text()?));
        }
        Ok(reply)
    }

    pub(crate) fn word(&self) -> &str {
        &self.word
    }

    pub(crate) fn text(&mut self) -> Result<String, Failure> {
        self.next()?.into_string().ok_or_else(Failure::unexpected)
    }

    /// A text that need not be one of ours: what isn't UTF-8 in it is replaced.
    pub(crate) fn foreign_text(&mut self) -> Result<String, Failure> {
        match self.next()? {
            Value::Bytes(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            value => value.into_string().ok_or_else(Failure::unexpected),
        }
    }

    pub(crate) fn integer(&mut self) -> Result<i64, Failure> {
        self.next()?.as_i64().ok_or_else(Failure::unexpected)
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64, Failure> {
        self.next()?.as_u64().ok_or_else(Failure::unexpected)
    }

    fn next(&mut self) -> Result<Value, Failure> {
        self.rest.next().ok_or_else(Failure::unexpected)
    }
}
