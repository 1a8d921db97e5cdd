use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use fred::types::Value;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::connection::Connection;
use crate::failure::Failure;
use crate::operation::Operation;
use crate::reply::Reply;
use crate::script::SOURCE;

/// How many calls of the script are under way at once. What is asked meanwhile goes in one call.
const UNDER_WAY: usize = 2;

/// After how long without a new call what waits goes in one of its own: the calls that are under way are then
/// slow, or their futures aren't polled.
const STUCK: Duration = Duration::from_millis(50);

/// How many operations go in one call at most: a script keeps the server from everything else.
const TOGETHER: usize = 64;

/// Calls the script. A task that asks while nothing is under way calls at once; what many ask at the
/// same moment goes together.
pub(crate) struct Pipeline {
    pub(crate) connection: Connection,
    /// What every call begins with.
    namespace: Value,
    /// The name under which the server knows the script.
    digest: OnceLock<Value>,
    queue: Mutex<Queue>,
    runtime: Handle,
}

#[derive(Default)]
struct Queue {
    under_way: usize,
    waiting: Vec<Waiting>,
    /// How often something was taken out of what waits.
    taken: u64,
    /// Whether a task looks that it is.
    is_watched: bool,
}

struct Waiting {
    operation: Operation,
    tell: oneshot::Sender<Result<Reply, Failure>>,
}

impl Pipeline {
    pub(crate) fn new(connection: Connection, namespace: &str, runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            connection,
            namespace: namespace.into(),
            digest: OnceLock::new(),
            queue: Mutex::default(),
            runtime,
        })
    }

    /// Has an operation carried out. A future that is dropped leaves open whether it was.
    pub(crate) async fn call(self: &Arc<Self>, operation: Operation) -> Result<Reply, Failure> {
        let (turn, is_unwatched) = {
            let mut queue = self.queue();
            if queue.under_way < UNDER_WAY {
                queue.under_way += 1;
                (Ok(operation), false)
            } else {
                let (tell, answer) = oneshot::channel();
                queue.waiting.push(Waiting { operation, tell });
                (Err(answer), !std::mem::replace(&mut queue.is_watched, true))
            }
        };
        if is_unwatched {
            // Not under the mutex: a runtime that has ended drops it at once, and it takes the mutex then.
            let watch = Watch { pipeline: Arc::clone(self), has_ended: false };
            self.runtime.spawn(watch.run());
        }
        match turn {
            Ok(operation) => {
                let turn = Turn(Some(Arc::clone(self)));
                let reply =
                    self.send(std::slice::from_ref(&operation)).await.and_then(|mut replies| {
                        replies.pop().unwrap_or_else(|| Err(Failure::unexpected()))
                    });
                drop(turn);
                reply
            }
            Err(answer) => answer.await.unwrap_or_else(|_| Err(Failure::cut_off())),
        }
    }

    /// Loads the script, so that the first call finds it.
    pub(crate) async fn load(&self) -> Result<(), Failure> {
        let digest = self.connection.send("SCRIPT", vec!["LOAD".into(), SOURCE.into()]).await?;
        // It is the same every time: the digest of the same text.
        let _ = self.digest.set(digest);
        Ok(())
    }

    /// Calls the script with these operations.
    pub(crate) async fn send(
        &self,
        operations: &[Operation],
    ) -> Result<Vec<Result<Reply, Failure>>, Failure> {
        let Some(digest) = self.digest.get() else { return Err(Failure::closed()) };
        let answer = match self.evaluate("EVALSHA", digest.clone(), operations).await {
            // A restart, or somebody's flush: nothing was carried out. Sent whole, it can't be flushed
            // between being loaded and being called.
            Err(Failure::Refused(cause)) if cause.to_string().contains("NOSCRIPT") => {
                self.evaluate("EVAL", SOURCE.into(), operations).await?
            }
            answer => answer?,
        };
        let replies = Reply::all(answer, operations.len())?;
        if replies.iter().any(|reply| reply.as_ref().is_err_and(Failure::is_read_only)) {
            self.connection.is_read_only();
        }
        Ok(replies)
    }

    async fn evaluate(
        &self,
        command: &'static str,
        script: Value,
        operations: &[Operation],
    ) -> Result<Value, Failure> {
        let keys: usize = operations.iter().map(|operation| operation.keys.len()).sum();
        let mut args = Vec::with_capacity(3 + keys + operations.len());
        args.push(script);
        args.push(keys.to_string().into());
        args.extend(operations.iter().flat_map(|operation| operation.keys.iter().cloned()));
        args.push(self.namespace.clone());
        args.extend(operations.iter().map(|operation| operation.message.clone()));
        self.connection.send(command, args).await
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits to be sent, less what nobody waits for any more. Nothing: the turn is over.
    fn next(&self) -> Vec<Waiting> {
        let mut queue = self.queue();
        queue.waiting.retain(|waiting| !waiting.tell.is_closed());
        let count = queue.waiting.len().min(TOGETHER);
        if count == 0 {
            queue.under_way -= 1;
        }
        queue.taken += 1;
        queue.waiting.drain(..count).collect()
    }
}

/// Looks that what waits is sent, as long as something does: a turn may be in a future that nobody polls, or in
/// a runtime that nobody drives.
struct Watch {
    pipeline: Arc<Pipeline>,
    has_ended: bool,
}

impl Watch {
    async fn run(mut self) {
        let mut taken = None;
        while let Some(now) = self.look(taken) {
            taken = Some(now);
            sleep(STUCK).await;
        }
    }

    /// Sends what waits if nothing was taken since. Answers how often something was; `None` if nothing waits:
    /// then the watch has ended, under the same mutex under which the next one begins.
    fn look(&mut self, taken: Option<u64>) -> Option<u64> {
        let mut queue = self.pipeline.queue();
        if queue.waiting.is_empty() {
            queue.is_watched = false;
            self.has_ended = true;
            return None;
        }
        if taken != Some(queue.taken) {
            return Some(queue.taken);
        }
        queue.under_way += 1;
        drop(queue);
        // It is one more, and sends what waits when it is dropped.
        drop(Turn(Some(Arc::clone(&self.pipeline))));
        Some(self.pipeline.queue().taken)
    }
}

/// The runtime was shut down under it.
impl Drop for Watch {
    fn drop(&mut self) {
        if !self.has_ended {
            self.pipeline.queue().is_watched = false;
        }
    }
}

/// One of the calls that may be under way. Ended, also by a dropped future, it passes to what waits.
struct Turn(Option<Arc<Pipeline>>);

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(pipeline) = self.0.take() else { return };
        let waiting = pipeline.next();
        if !waiting.is_empty() {
            let runtime = pipeline.runtime.clone();
            runtime.spawn(send_waiting(Self(Some(pipeline)), waiting));
        }
    }
}

/// Sends what waits, until nothing does. Dropped with its runtime, it passes its turn on all the same.
async fn send_waiting(mut turn: Turn, mut waiting: Vec<Waiting>) {
    while let Some(pipeline) = &turn.0 {
        let (operations, tellers): (Vec<_>, Vec<_>) =
            waiting.into_iter().map(|waiting| (waiting.operation, waiting.tell)).unzip();
        match pipeline.send(&operations).await {
            Ok(replies) => {
                for (tell, reply) in tellers.into_iter().zip(replies) {
                    let _ = tell.send(reply);
                }
            }
            Err(failure) => {
                for tell in tellers {
                    let _ = tell.send(Err(failure.clone()));
                }
            }
        }
        waiting = pipeline.next();
        if waiting.is_empty() {
            // With that, the turn is over.
            turn.0 = None;
        }
    }
}
