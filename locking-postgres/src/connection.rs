use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use locking_core::WithCauses;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Connection as DriverConnection, Error as DriverError};

use crate::failure::Failure;

/// A connection to the server: what makes a client's statements go on, while it is polled.
pub(crate) struct Connection(Box<dyn Messages + Send>);

impl Connection {
    pub(crate) fn new<S, T>(connection: DriverConnection<S, T>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self(Box::new(connection))
    }

    /// What the server tells next; none once the connection has ended. It may be dropped at any time.
    pub(crate) async fn message(&mut self) -> Option<Result<AsyncMessage, DriverError>> {
        poll_fn(|context| self.0.poll(context)).await
    }

    /// To its end. Whatever the server tells is of no interest.
    pub(crate) async fn run(mut self) {
        while let Some(message) = self.message().await {
            match message {
                Ok(AsyncMessage::Notice(notice)) => {
                    tracing::debug!(%notice, "the PostgreSQL server says");
                }
                Ok(_) => {}
                Err(error) => {
                    let failure = Failure::from(error);
                    let error = WithCauses::of(&failure);
                    tracing::debug!(%error, "a connection to the PostgreSQL server has ended");
                    return;
                }
            }
        }
    }

    /// While this lasts, which is done with the client of this connection and ends it. Dropped half way,
    /// the connection is closed as well.
    pub(crate) async fn during<T>(self, work: impl Future<Output = T>) -> T {
        let (mut work, mut connection) = (pin!(work), pin!(self.run()));
        let (done, open) = tokio::select! {
            biased;
            done = &mut work => (done, true),
            // Its client hears of the end.
            () = &mut connection => (work.await, false),
        };
        if open {
            // A server that takes no leave is left without.
            let _ = timeout(Duration::from_secs(1), connection).await;
        }
        done
    }
}

/// The driver's connection, whatever carries it.
trait Messages {
    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<AsyncMessage, DriverError>>>;
}

impl<S, T> Messages for DriverConnection<S, T>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<AsyncMessage, DriverError>>> {
        self.poll_message(context)
    }
}
