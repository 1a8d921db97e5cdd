use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::Failure;
use crate::lock_file::LockFile;

/// How often what is over is swept away.
const SWEEP: Duration = Duration::from_secs(5);

/// A client's way to its file: a thread that does one operation after another, so that no task of a runtime
/// ever waits for a disk or for another process. It ends with the last clone.
#[derive(Clone)]
pub(crate) struct Database {
    operations: Sender<Operation>,
}

/// When it was asked for, and what it does.
type Operation = (Instant, Box<dyn FnOnce(&mut LockFile) + Send>);

impl Database {
    pub(crate) fn start(file: LockFile) -> Result<Self, Failure> {
        let (operations, queue) = channel();
        let thread = std::thread::Builder::new().name("locking-sqlite".to_owned());
        thread.spawn(|| work(file, queue)).map_err(Failure::NoThread)?;
        Ok(Self { operations })
    }

    /// Carries out an operation. Who drops the future doesn't keep it from being carried out.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut LockFile) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (answer, answered) = oneshot::channel();
        let operation = Box::new(move |file: &mut LockFile| {
            // Nobody may listen any more.
            let _ = answer.send(operation(file));
        });
        self.operations.send((Instant::now(), operation)).map_err(|_| Failure::Panicked)?;
        answered.await.unwrap_or(Err(Failure::Panicked))
    }
}

fn work(mut file: LockFile, queue: Receiver<Operation>) {
    let mut sweep = Instant::now() + SWEEP;
    loop {
        match queue.recv_timeout(sweep.saturating_duration_since(Instant::now())) {
            Ok((asked, operation)) => {
                // Its own answer says that it panicked.
                let _ = carry_out(&mut file, asked, operation);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        if now >= sweep {
            let more = carry_out(&mut file, now, LockFile::sweep) == Some(true);
            sweep = Instant::now() + if more { Duration::ZERO } else { SWEEP };
        }
    }
}

/// A panic ends the connection, whatever state it is in, and not the thread.
fn carry_out<T>(
    file: &mut LockFile,
    asked: Instant,
    operation: impl FnOnce(&mut LockFile) -> T,
) -> Option<T> {
    file.begin(asked);
    let done = catch_unwind(AssertUnwindSafe(|| operation(file)));
    if done.is_err() {
        file.close();
    }
    done.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::BootId;

    #[tokio::test]
    async fn an_operation_that_panics_is_unknown_and_others_go_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let boot = BootId::current().expect("an id");
        let file = LockFile::new(folder.path().join("locks"), Duration::from_secs(1), boot);
        let database = Database::start(file).expect("a thread");
        let panicked = database.call(|_| -> Result<(), Failure> { panic!("as it happens") }).await;
        assert!(matches!(panicked, Err(Failure::Panicked)), "{panicked:?}");
        database.call(LockFile::migrate).await.expect("it goes on");
    }
}
