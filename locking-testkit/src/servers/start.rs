//! Finding a server, from the first source that has one.

use super::container;
use super::error::{ServerError, Tried};
use super::kind::Kind;
use super::server::Server;
use super::source::Source;

/// A port can be taken by somebody else between the look and the start.
const ATTEMPTS: usize = 5;

/// A server that can be started here.
pub(super) trait Setup: Sync {
    const KIND: &'static Kind;
    /// What to do where no server is to be had.
    const ADVICE: &'static str;
    /// What a process is started from.
    type Programs: Send + Sync;
    type Handle: Send;

    /// What is installed, or what is missing.
    fn installed() -> Result<Self::Programs, String>;

    /// Starts it as a process on ports that are free at the moment, and returns when it answers.
    fn process(
        &self,
        programs: &Self::Programs,
    ) -> impl Future<Output = Result<Self::Handle, ServerError>> + Send;
}

/// One that has an image.
pub(super) trait Contained: Setup {
    /// Starts it in a container, as [`process`](Setup::process) does.
    fn container(&self) -> impl Future<Output = Result<Self::Handle, ServerError>> + Send;
}

/// The server of the environment, where one is named and may be used; `None`: one of our own is
/// wanted.
pub(super) async fn named<S: Setup>() -> Result<Option<Server>, ServerError> {
    let variable = S::KIND.variable;
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty());
    match (Source::forced()?, url) {
        (None | Some(Source::Environment), Some(url)) => {
            Server::named(S::KIND, &url).await.map(Some)
        }
        (Some(Source::Environment), None) => {
            let mut tried = Tried::default();
            tried.add(Source::Environment, format!("{variable} is not set"));
            Err(not_to_be_had::<S>(tried))
        }
        _ => Ok(None),
    }
}

/// A server of our own.
pub(super) async fn own<S: Contained>(setup: &S) -> Result<S::Handle, ServerError> {
    let (mut tried, forced) = (Tried::default(), Source::forced()?);
    if forced == Some(Source::Environment) {
        tried.add(Source::Environment, "it names no server that nobody else uses");
        return Err(not_to_be_had::<S>(tried));
    }
    if forced != Some(Source::Process) {
        match container::probe().await {
            Err(why) => tried.add(Source::Container, why),
            Ok(()) => match started(|| setup.container()).await {
                // An image that can't be had, say: a process may do.
                Err(error) if forced.is_none() => tried.add(Source::Container, error.to_string()),
                other => return other,
            },
        }
    }
    if forced == Some(Source::Container) {
        return Err(not_to_be_had::<S>(tried));
    }
    process(setup, tried).await
}

/// A process of our own, where nothing else is to be had.
pub(super) async fn process<S: Setup>(
    setup: &S,
    mut tried: Tried,
) -> Result<S::Handle, ServerError> {
    match S::installed() {
        Ok(programs) => started(|| setup.process(&programs)).await,
        Err(why) => {
            tried.add(Source::Process, why);
            Err(not_to_be_had::<S>(tried))
        }
    }
}

fn not_to_be_had<S: Setup>(tried: Tried) -> ServerError {
    ServerError::NotToBeHad { server: S::KIND.name, tried, advice: S::ADVICE.to_owned() }
}

/// Starts a server, on other ports where somebody else took these meanwhile.
async fn started<T, F>(start: impl Fn() -> F) -> Result<T, ServerError>
where
    F: Future<Output = Result<T, ServerError>>,
{
    let mut attempt = 1;
    loop {
        match start().await {
            Err(ServerError::Failed { problem, .. })
                if is_taken(&problem) && attempt < ATTEMPTS =>
            {
                attempt += 1;
            }
            other => return other,
        }
    }
}

/// Whether somebody else has the port, in the words of a server or of Docker.
fn is_taken(problem: &str) -> bool {
    problem.contains("already in use") || problem.contains("already allocated")
}
