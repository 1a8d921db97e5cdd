use std::error::Error;
use std::{fmt, iter};

/// An error with its causes, in one line, for people to read: those of this library leave out what their
/// [`source`](Error::source) says. What a cause says that was said before it isn't repeated.
///
/// The events of this library tell errors so: as text, because not every subscriber shows the sources of what is
/// recorded as an error.
///
/// ```
/// # use locking_core::{Error, ProviderId, WithCauses};
/// # let provider = ProviderId::new("locking-redis")?;
/// let error = Error::unavailable(&provider, "connection refused");
///
/// assert_eq!(error.to_string(), "locking provider `locking-redis` is unavailable");
/// let told = WithCauses::of(&error).to_string();
/// assert_eq!(told, "locking provider `locking-redis` is unavailable: connection refused");
/// # Ok::<(), locking_core::ConfigurationError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct WithCauses<'a>(&'a (dyn Error + 'static));

impl<'a> WithCauses<'a> {
    /// This error and its causes, from the outermost in.
    #[must_use]
    pub const fn of(error: &'a (dyn Error + 'static)) -> Self {
        Self(error)
    }
}

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = String::new();
        for error in iter::successors(Some(self.0), |&error| error.source()) {
            for line in error.to_string().lines().map(str::trim) {
                if said.contains(line) {
                    continue;
                }
                if !said.is_empty() {
                    said.push_str(": ");
                }
                said.push_str(line);
            }
        }
        f.write_str(&said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::provider_id::ProviderId;

    fn chain(source: impl Into<crate::error::BoxError>) -> String {
        let provider = ProviderId::new("store").expect("an id");
        WithCauses::of(&Error::unavailable(&provider, source)).to_string()
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the server answered `{0}`")]
    struct Answered(#[source] std::io::Error);

    #[test]
    fn an_error_is_told_with_its_causes_from_the_outermost_in() {
        assert_eq!(chain("refused"), "locking provider `store` is unavailable: refused");
    }

    #[test]
    fn a_cause_that_was_told_already_is_not_told_again() {
        let answered = Answered(std::io::Error::other("no room"));
        let told = "locking provider `store` is unavailable: the server answered `no room`";
        assert_eq!(chain(answered), told);
    }

    #[test]
    fn a_cause_of_several_lines_is_told_in_one() {
        let told = "locking provider `store` is unavailable: no room: DETAIL: none at all";
        assert_eq!(chain("no room\n\nDETAIL: none at all\n"), told);
    }
}
