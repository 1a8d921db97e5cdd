//! What a provider needs once its tables are there: its session, and the tasks that keep it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use locking_core::line::Lines;
use locking_core::{ConfigurationError, Error, ProviderId, Result, WithCauses};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::interval;

use crate::connect::Connector;
use crate::database::Database;
use crate::failure::Failure;
use crate::listener::Listener;
use crate::options::TakeoverOptions;
use crate::sessions::{Joined, Sessions};
use crate::store::Store;
use crate::survey;

/// How often what is over is cleared away, by one of all clients.
const SWEEP: Duration = Duration::from_secs(5);

/// Starts a provider, once: when it is connected, or, where its tables come later, with the first call that needs
/// them. A start runs in a task of its own, on the provider's runtime, whoever waits for it, and however long: who
/// comes while it is under way waits for its end.
pub(crate) struct Start {
    pub(crate) id: ProviderId,
    pub(crate) lines: Arc<Lines<Store>>,
    pub(crate) database: Arc<Database>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) connector: Connector,
    pub(crate) schema: String,
    pub(crate) takeover: TakeoverOptions,
    /// Whether a pooler lies between: then there is no session.
    pub(crate) pooled: bool,
    pub(crate) runtime: Handle,
    pub(crate) progress: Mutex<Progress>,
}

/// How far it has come.
#[derive(Debug)]
pub(crate) enum Progress {
    /// To be begun, for the first time or once more.
    Ahead,
    /// A task is at it, and tells of its end.
    UnderWay { task: JoinHandle<()>, outcome: watch::Receiver<Outcome> },
    /// These tasks run.
    Done(Vec<JoinHandle<()>>),
    /// The provider is closed, or dropped.
    Ended,
}

/// `None` until it has ended.
type Outcome = Option<Result<(), Arc<Error>>>;

impl Start {
    pub(crate) fn is_done(&self) -> bool {
        matches!(*self.progress(), Progress::Done(_))
    }

    /// Waits until it is done.
    ///
    /// # Errors
    ///
    /// Those of [`Database::check`], and those of opening a session.
    pub(crate) async fn done(self: &Arc<Self>) -> Result<()> {
        let mut outcome = match &mut *self.progress() {
            Progress::Done(_) => return Ok(()),
            Progress::Ended => return Err(Error::closed(&self.id)),
            Progress::UnderWay { outcome, .. } if is_awaited(outcome) => outcome.clone(),
            progress => {
                let (tell, outcome) = watch::channel(None);
                let task = self.runtime.spawn(Arc::clone(self).run(tell));
                *progress = Progress::UnderWay { task, outcome: outcome.clone() };
                outcome
            }
        };
        let outcome = outcome.wait_for(Option::is_some).await;
        let outcome = outcome.ok().and_then(|outcome| outcome.clone());
        match outcome {
            Some(Ok(())) => Ok(()),
            // Whatever it failed of when its connections were ended.
            _ if self.lines.is_closed() => Err(Error::closed(&self.id)),
            Some(Err(error)) => Err(again(&self.id, error)),
            None => Err(Failure::cut_off().unchanged().into_error(&self.id)),
        }
    }

    /// Ends the tasks that there are; none is begun any more.
    pub(crate) fn end(&self) {
        match std::mem::replace(&mut *self.progress(), Progress::Ended) {
            Progress::UnderWay { task, .. } => task.abort(),
            Progress::Done(tasks) => tasks.iter().for_each(JoinHandle::abort),
            Progress::Ahead | Progress::Ended => {}
        }
    }

    async fn run(self: Arc<Self>, tell: watch::Sender<Outcome>) {
        let outcome = self.attempt().await.map_err(Arc::new);
        tell.send_replace(Some(outcome));
    }

    async fn attempt(&self) -> Result<()> {
        self.database.check(&self.id, &self.schema).await?;
        let listening = if self.pooled { None } else { Some(self.listen().await?) };
        self.database.rehearse().await;
        let mut progress = self.progress();
        if matches!(*progress, Progress::Ended) {
            return Err(Error::closed(&self.id));
        }
        let mut tasks: Vec<_> = listening.and_then(Listening::started).into_iter().collect();
        tasks.push(self.runtime.spawn(sweep(self.id.clone(), Arc::downgrade(&self.database))));
        *progress = Progress::Done(tasks);
        Ok(())
    }

    async fn listen(&self) -> Result<Listening> {
        let listener = Listener {
            id: self.id.clone(),
            // Whether it is over is for the heartbeats to say.
            connector: self.connector.outliving(self.takeover.session_timeout),
            database: Arc::clone(&self.database),
            takeover: self.takeover.clone(),
            sessions: Arc::clone(&self.sessions),
        };
        // Whatever became of it, its connection has ended.
        let open = listener.open().await;
        let open = open.map_err(|failure| failure.unchanged().into_error(&self.id))?;
        let running = listener.run(Some(open), Arc::downgrade(&self.lines));
        let listening = Listening {
            task: Some(self.runtime.spawn(running)),
            sessions: Arc::clone(&self.sessions),
        };
        self.check_session().await?;
        Ok(listening)
    }

    /// Whether statements see that the session lives: by its lock. Otherwise everybody took what it holds.
    async fn check_session(&self) -> Result<()> {
        let Some(Joined { number, session }) = self.sessions.joined() else { return Ok(()) };
        let refused = |failure: Failure| failure.unchanged().into_error(&self.id);
        let values: crate::statement::OwnValues = vec![Box::new(number)];
        let rows = self.database.call(|statements| &statements.is_gone, values).await;
        let rows = rows.map_err(refused)?;
        let row = rows.first().ok_or_else(|| refused(Failure::unexpected()))?;
        let is_gone: bool = row.try_get(0).map_err(|error| refused(error.into()))?;
        if !is_gone || !session.is_alive() {
            return Ok(());
        }
        let problem = "the pool's connections lead to another database, or over a transaction pooler: then set `pgbouncer`";
        Err(ConfigurationError::option("url", problem).into())
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a start is still to tell of its end.
fn is_awaited(outcome: &watch::Receiver<Outcome>) -> bool {
    outcome.borrow().is_none() && outcome.has_changed().is_ok()
}

/// The same error, for one more who waited.
fn again(id: &ProviderId, error: Arc<Error>) -> Error {
    match &*error {
        Error::Configuration(mistake) => mistake.clone().into(),
        Error::CapacityExceeded { .. } => Error::capacity_exceeded(id, error),
        Error::Closed { .. } => Error::closed(id),
        _ => Error::unavailable(id, error),
    }
}

/// The session of a provider that isn't started yet. A start that fails, or is given up half way, ends it: the
/// next one opens another, and there is one at a time.
struct Listening {
    task: Option<JoinHandle<()>>,
    sessions: Arc<Sessions>,
}

impl Listening {
    fn started(mut self) -> Option<JoinHandle<()>> {
        self.task.take()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            self.sessions.end_current();
        }
    }
}

/// Clears what is over, as long as there is a database.
async fn sweep(provider: ProviderId, database: Weak<Database>) {
    let mut due = interval(SWEEP / 4);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let Some(database) = database.upgrade() else { return };
        if let Err(failure) = survey::sweep(&database, SWEEP).await {
            let error = WithCauses::of(&failure);
            tracing::debug!(%provider, %error, "what is over couldn't be cleared away");
        }
    }
}
