use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::failure::Failure;

/// Asks the server for many operations of one kind in one statement.
pub(crate) trait Batch: Send + Sync + 'static {
    type Operation: Send + Sync + 'static;
    type Reply: Send + 'static;

    /// How many keys an operation is on.
    fn keys(operation: &Self::Operation) -> usize;

    /// Whether an operation is asked for in a statement of its own.
    fn is_alone(operation: &Self::Operation) -> bool;

    /// What a statement goes over.
    type Way: Send;

    /// Finds a way for the next statement.
    fn way(&self) -> impl Future<Output = Result<Self::Way, Failure>> + Send;

    /// Asks for all of these in one statement; answers each, in their order.
    fn send(
        &self,
        way: Self::Way,
        operations: &[Self::Operation],
    ) -> impl Future<Output = Result<Vec<Self::Reply>, Failure>> + Send;
}

/// Operations of one kind on their way to the server: what is asked while others are under way goes
/// together in one statement.
pub(crate) struct Lane<B: Batch> {
    batch: B,
    /// How many statements are under way at once.
    width: usize,
    /// On how many keys one statement is at most, unless one operation alone is on more.
    most: usize,
    runtime: Handle,
    queue: Mutex<Queue<B>>,
}

struct Queue<B: Batch> {
    under_way: usize,
    waiting: VecDeque<Waiting<B>>,
}

struct Waiting<B: Batch> {
    operation: B::Operation,
    tell: oneshot::Sender<Result<B::Reply, Failure>>,
}

impl<B: Batch> Lane<B> {
    pub(crate) fn new(batch: B, width: usize, most: usize, runtime: Handle) -> Arc<Self> {
        let queue = Mutex::new(Queue { under_way: 0, waiting: VecDeque::new() });
        Arc::new(Self { batch, width, most, runtime, queue })
    }

    /// Has an operation carried out. A future that is dropped leaves open whether it was.
    pub(crate) async fn call(
        self: &Arc<Self>,
        operation: B::Operation,
    ) -> Result<B::Reply, Failure> {
        let (tell, answer) = oneshot::channel();
        let is_wide = {
            let mut queue = self.queue();
            queue.waiting.push_back(Waiting { operation, tell });
            let is_wide = queue.under_way < self.width;
            queue.under_way += usize::from(is_wide);
            is_wide
        };
        if is_wide {
            self.runtime.spawn(send_waiting(Sender { lane: Arc::clone(self), has_ended: false }));
        }
        answer.await.unwrap_or_else(|_| Err(Failure::cut_off()))
    }

    /// What goes in the next statement, less what nobody waits for any more. Nothing: the sender ends.
    fn next(&self) -> Vec<Waiting<B>> {
        let mut queue = self.queue();
        let (mut next, mut keys) = (Vec::new(), 0);
        while let Some(waiting) = queue.waiting.pop_front() {
            if waiting.tell.is_closed() {
                continue;
            }
            let alone = B::is_alone(&waiting.operation);
            keys += B::keys(&waiting.operation);
            if !next.is_empty() && (alone || keys > self.most) {
                queue.waiting.push_front(waiting);
                break;
            }
            next.push(waiting);
            if alone {
                break;
            }
        }
        if next.is_empty() {
            queue.under_way -= 1;
        }
        next
    }

    fn queue(&self) -> MutexGuard<'_, Queue<B>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who sends what waits. Its runtime may drop it at any point, or before it begins.
struct Sender<B: Batch> {
    lane: Arc<Lane<B>>,
    has_ended: bool,
}

impl<B: Batch> Drop for Sender<B> {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let mut queue = self.lane.queue();
        queue.under_way -= 1;
        if queue.under_way == 0 {
            // Nobody is left to send it: whoever waits hears of that.
            queue.waiting.clear();
        }
    }
}

/// Sends what waits, until nothing does.
async fn send_waiting<B: Batch>(mut sender: Sender<B>) {
    let lane = Arc::clone(&sender.lane);
    loop {
        // First the way: what is asked until there is one goes along, and what nobody waits for any more by
        // then is never sent.
        let way = lane.batch.way().await;
        let next = lane.next();
        if next.is_empty() {
            sender.has_ended = true;
            return;
        }
        let (operations, tellers): (Vec<_>, Vec<_>) =
            next.into_iter().map(|waiting| (waiting.operation, waiting.tell)).unzip();
        let outcome = match way {
            Ok(way) => lane.batch.send(way, &operations).await,
            Err(failure) => {
                tell_all(tellers, &failure);
                continue;
            }
        };
        match outcome {
            Ok(replies) if replies.len() == tellers.len() => {
                for (tell, reply) in tellers.into_iter().zip(replies) {
                    let _ = tell.send(Ok(reply));
                }
            }
            Ok(_) => tell_all(tellers, &Failure::unexpected()),
            // One that can't be carried out refuses all: each is asked for by itself.
            Err(Failure::Refused(_) | Failure::Full(_)) if operations.len() > 1 => {
                for (operation, tell) in operations.iter().zip(tellers) {
                    // Taken back meanwhile; and that may be forgotten by the time that this would arrive.
                    if tell.is_closed() {
                        continue;
                    }
                    let _ = tell.send(send_one(&lane.batch, operation).await);
                }
            }
            Err(failure) => tell_all(tellers, &failure),
        }
    }
}

async fn send_one<B: Batch>(batch: &B, operation: &B::Operation) -> Result<B::Reply, Failure> {
    let way = batch.way().await?;
    let mut replies = batch.send(way, std::slice::from_ref(operation)).await?;
    replies.pop().ok_or_else(Failure::unexpected)
}

fn tell_all<R>(tellers: Vec<oneshot::Sender<Result<R, Failure>>>, failure: &Failure) {
    for tell in tellers {
        let _ = tell.send(Err(failure.clone()));
    }
}
