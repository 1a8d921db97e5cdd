//! What this crate logs in a test's own thread.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

/// Listens until it is dropped.
pub(super) struct Heard {
    log: Log,
    _listening: DefaultGuard,
}

/// Whom nobody hears through. With less than two listeners in a program, whoever logs something first decides by its
/// own thread whether it is ever heard, and tests run on many.
static OTHERS: LazyLock<[Dispatch; 2]> =
    LazyLock::new(|| [(); 2].map(|()| Dispatch::new(Log::default())));

/// An event. Its text is its field `message`.
#[derive(Clone, Debug)]
pub(super) struct Said {
    level: Level,
    fields: BTreeMap<&'static str, String>,
}

impl Said {
    pub(super) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Said>>>);

impl Heard {
    pub(super) fn start() -> Self {
        LazyLock::force(&OTHERS);
        let log = Log::default();
        Self { log: log.clone(), _listening: set_default(log) }
    }

    /// Events of this level that say this.
    pub(super) fn events(&self, level: Level, text: &str) -> Vec<Said> {
        let is_meant = |said: &&Said| said.level == level && said.field("message").contains(text);
        self.everything().iter().filter(is_meant).cloned().collect()
    }

    pub(super) fn everything(&self) -> Vec<Said> {
        self.log.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Subscriber for Log {
    fn enabled(&self, of: &Metadata<'_>) -> bool {
        of.is_event() && of.target().starts_with("locking_postgres")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let said = Said { level: *event.metadata().level(), fields: fields.0 };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(said);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}
