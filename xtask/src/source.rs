use crate::command::Result;
use crate::engine::Engine;
use crate::images::Image;

/// The variable by which the testkit is told where servers come from.
pub(crate) const SOURCE: &str = "LOCKING_TEST_SERVERS";

/// Where servers under test come from, until it is dropped. By default, from wherever the testkit finds one.
#[derive(Debug, Default)]
pub(crate) struct Source {
    variables: Vec<(&'static str, String)>,
    _engine: Option<Engine>,
}

impl Source {
    /// Processes of the installed programs.
    pub(crate) fn processes() -> Self {
        Self { variables: vec![(SOURCE, "process".to_owned())], _engine: None }
    }

    /// Containers of these images, which are made available.
    pub(crate) fn containers<'a>(images: impl IntoIterator<Item = &'a Image>) -> Result<Self> {
        let engine = Engine::ensure()?;
        let mut variables = vec![(SOURCE, "container".to_owned()), engine.variable()];
        for image in images {
            let (variable, name) = image.ensure()?;
            variables.push((variable, name.to_owned()));
        }
        Ok(Self { variables, _engine: Some(engine) })
    }

    /// The same where it is needed: a server that is named goes first.
    pub(crate) fn not_forced(mut self) -> Self {
        self.variables.retain(|(name, _)| *name != SOURCE);
        self
    }

    /// What the testkit is told.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (*name, value.as_str()))
    }
}
