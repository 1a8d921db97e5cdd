use std::fmt;

use super::error::ServerError;

/// Where a test's server comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The address that a variable names: the server is somebody else's.
    Environment,
    /// A container, by Docker.
    Container,
    /// A process of the installed program.
    Process,
}

impl Source {
    /// The variable that forces one.
    pub const VARIABLE: &'static str = "LOCKING_TEST_SERVERS";

    /// The one that [`VARIABLE`](Self::VARIABLE) forces: `env`, `container` or `process`.
    ///
    /// # Errors
    ///
    /// [`ServerError::Variable`] if it says something else.
    pub fn forced() -> Result<Option<Self>, ServerError> {
        match std::env::var(Self::VARIABLE) {
            Err(std::env::VarError::NotPresent) => Ok(None),
            Ok(text) if text.is_empty() => Ok(None),
            Ok(text) => Self::named(&text).map(Some),
            Err(_) => Self::named("not text").map(Some),
        }
    }

    fn named(text: &str) -> Result<Self, ServerError> {
        match text {
            "env" => Ok(Self::Environment),
            "container" => Ok(Self::Container),
            "process" => Ok(Self::Process),
            other => Err(ServerError::Variable {
                variable: Self::VARIABLE,
                problem: format!("`{other}`; it takes `env`, `container` or `process`"),
            }),
        }
    }

    /// The name by which the variable calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Environment => "env",
            Self::Container => "container",
            Self::Process => "process",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_found_by_its_name_and_by_nothing_else() {
        for source in [Source::Environment, Source::Container, Source::Process] {
            assert_eq!(Source::named(source.name()).expect("its own name"), source);
        }
        let error = Source::named("docker").expect_err("no such source").to_string();
        assert!(error.contains("LOCKING_TEST_SERVERS") && error.contains("`container`"), "{error}");
    }
}
