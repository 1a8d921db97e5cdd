use super::container::ServerContainer;
use super::error::ServerError;
use super::process::ServerProcess;
use crate::signal::Signal;

/// A server that was started here, whatever it is a server of.
#[derive(Debug)]
pub(super) enum Owned {
    // Both are large, and not equally so.
    Process(Box<ServerProcess>),
    Container(Box<ServerContainer>),
}

impl Owned {
    /// Starts it where it doesn't run, on the same port and with the same data. It needs a moment
    /// more until it answers.
    pub(super) async fn start(&self) -> Result<(), ServerError> {
        match self {
            Self::Process(process) => process.start().await,
            Self::Container(container) => container.start_again().await,
        }
    }

    /// Ends it at once.
    pub(super) async fn kill(&self) -> Result<(), ServerError> {
        match self {
            Self::Process(process) => process.kill().await,
            Self::Container(container) => container.kill().await,
        }
    }

    /// Has it end.
    pub(super) async fn stop(&self) -> Result<(), ServerError> {
        match self {
            Self::Process(process) => process.stop().await,
            Self::Container(container) => container.stop().await,
        }
    }

    /// Has it end by the signal QUIT, which servers take for a demand to hurry.
    pub(super) async fn quit(&self) -> Result<(), ServerError> {
        match self {
            Self::Process(process) => process.end_by(Signal::Quit).await,
            Self::Container(container) => container.end_by("SIGQUIT").await,
        }
    }

    pub(super) async fn pause(&self) -> Result<(), ServerError> {
        match self {
            Self::Process(process) => process.pause().await,
            Self::Container(container) => container.pause().await,
        }
    }

    pub(super) async fn resume(&self) -> Result<(), ServerError> {
        match self {
            Self::Process(process) => process.resume().await,
            Self::Container(container) => container.resume().await,
        }
    }

    /// An error if it ended by itself, with what it said last.
    pub(super) async fn check(&self) -> Result<(), ServerError> {
        match self {
            Self::Process(process) => process.check().await,
            Self::Container(container) => container.check().await,
        }
    }
}
