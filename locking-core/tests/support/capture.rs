//! What a test's own thread logs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// One span or event. An event's text is its field `message`.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) level: Level,
    pub(crate) is_span: bool,
    pub(crate) fields: BTreeMap<&'static str, String>,
    id: Option<Id>,
}

impl Entry {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

/// Listens until it is dropped.
pub(crate) struct Capture {
    log: Log,
    _listening: DefaultGuard,
}

/// Whom nobody hears through. With less than two listeners in a program, whoever logs something first decides by its
/// own thread whether it is ever heard, and tests run on many.
static OTHERS: LazyLock<[Dispatch; 2]> =
    LazyLock::new(|| [(); 2].map(|()| Dispatch::new(tracing_subscriber::registry())));

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Entry>>>);

impl Capture {
    pub(crate) fn start() -> Self {
        LazyLock::force(&OTHERS);
        let log = Log::default();
        let listening = set_default(tracing_subscriber::registry().with(log.clone()));
        Self { log, _listening: listening }
    }

    pub(crate) fn spans(&self, name: &str) -> Vec<Entry> {
        self.select(|entry| entry.is_span && entry.name == name)
    }

    /// Events of this level that say this.
    pub(crate) fn events(&self, level: Level, text: &str) -> Vec<Entry> {
        self.select(|entry| {
            !entry.is_span && entry.level == level && entry.field("message").contains(text)
        })
    }

    /// All that was logged.
    pub(crate) fn everything(&self) -> String {
        format!("{:?}", self.select(|_| true))
    }

    fn select(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let log = self.log.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|entry| wanted(entry)).cloned().collect()
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_new_span(&self, span: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        let mut fields = Fields::default();
        span.record(&mut fields);
        self.push(span.metadata(), true, fields, Some(id.clone()));
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        record.record(&mut fields);
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Ids are used again after a span is closed: the latest is meant.
        let span = log.iter_mut().rev().find(|entry| entry.id.as_ref() == Some(id));
        span.expect("a span is new before it is recorded").fields.extend(fields.0);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.push(event.metadata(), false, fields, None);
    }
}

impl Log {
    fn push(
        &self,
        metadata: &'static tracing::Metadata<'static>,
        is_span: bool,
        fields: Fields,
        id: Option<Id>,
    ) {
        let (name, level) = (metadata.name(), *metadata.level());
        let entry = Entry { name, level, is_span, fields: fields.0, id };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }
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
