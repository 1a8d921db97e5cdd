//! What a client says while it works, through `tracing` and elsewhere.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};

/// A runtime of one thread, whose spans and events are heard: also those of the tasks that a client starts for
/// itself.
#[derive(Debug)]
pub(crate) struct Overheard {
    runtime: Handle,
    said: Said,
    /// Its end is the runtime's.
    _goes_on: oneshot::Sender<()>,
    /// Hears nothing. As long as there is only one listener, whoever logs something first decides by its own
    /// thread whether it is ever heard.
    _another: Dispatch,
}

/// All of it, as text.
#[derive(Clone, Debug, Default)]
struct Said(Arc<Mutex<String>>);

impl Overheard {
    pub(crate) fn start() -> Self {
        let said = Said::default();
        let (goes_on, ended) = oneshot::channel::<()>();
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        let listener = |said: Said| Listener { said, spans: AtomicU64::new(1) };
        let another = Dispatch::new(listener(Said::default()));
        let listener = listener(said.clone());
        thread::spawn(move || {
            tracing::subscriber::with_default(listener, || runtime.block_on(ended).ok());
        });
        Self { runtime: handle, said, _goes_on: goes_on, _another: another }
    }

    /// Runs something there.
    ///
    /// # Panics
    ///
    /// If it does.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let done = self.runtime.spawn(work).await;
        done.unwrap_or_else(|end| std::panic::resume_unwind(end.into_panic()))
    }

    /// Has something said that isn't logged: by whatever way it can be shown.
    pub(crate) fn shown(&self, shown: &dyn fmt::Debug) {
        self.said.add(format_args!("{shown:?}\n{shown:#?}"));
    }

    /// The same for an error, with its sources.
    pub(crate) fn failed(&self, error: &(dyn std::error::Error + 'static)) {
        self.shown(&error);
        let mut cause = Some(error);
        while let Some(error) = cause {
            self.said.add(format_args!("{error}"));
            cause = error.source();
        }
    }

    pub(crate) fn said(&self) -> String {
        self.said.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Said {
    fn add(&self, more: fmt::Arguments<'_>) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(said, "{more}").expect("memory");
    }
}

struct Listener {
    said: Said,
    spans: AtomicU64,
}

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.said.add(format_args!("{}", span.metadata().name()));
        span.record(&mut Fields(&self.said));
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Fields(&self.said));
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Fields(&self.said));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Fields<'a>(&'a Said);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.add(format_args!("{field}: {value:?}"));
    }
}
