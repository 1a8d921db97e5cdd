use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::mem::replace;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use crate::errand::{Beginner, Errand};
use crate::failure::Failure;

/// A statement with fewer operations has another beside it at once. Beside one with more, what is asked waits, and
/// goes together in the next: a statement by itself costs the server as much as ten operations in it.
const FEW: usize = 8;

/// A statement that takes longer has another beside it, too: it waits for a slow disk, or for somebody else.
const SLOW: Duration = Duration::from_millis(5);

/// A statement that a call sent itself, and that is under way for so long, or twice that, may be of a call that
/// nobody polls. It has a connection that others want: a task goes on with it.
const NEGLECTED: Duration = Duration::from_millis(100);

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
///
/// A call that finds none under way sends its statement itself, and reads the answer: handing that to a task and
/// back wakes two more tasks than the statement does. All others are sent by tasks.
pub(crate) struct Lane<B: Batch> {
    batch: B,
    /// How many statements are under way at once, at most.
    width: usize,
    /// On how many keys one statement is at most, unless one operation alone is on more.
    most: usize,
    runtime: Handle,
    queue: Mutex<Queue<B>>,
}

struct Queue<B: Batch> {
    under_way: usize,
    /// How many of those have many operations, and were just sent: what is asked waits for one of them.
    soon: usize,
    /// Whether the last one had many.
    is_crowded: bool,
    waiting: VecDeque<Waiting<B>>,
    /// The last statement that a call sent itself.
    errand: Option<Arc<Errand>>,
    /// Whether it is seen when that is neglected.
    is_watched: bool,
}

struct Waiting<B: Batch> {
    since: Instant,
    operation: B::Operation,
    tell: oneshot::Sender<Result<B::Reply, Failure>>,
}

impl<B: Batch> Lane<B> {
    pub(crate) fn new(batch: B, width: usize, most: usize, runtime: Handle) -> Arc<Self> {
        let queue = Mutex::new(Queue {
            under_way: 0,
            soon: 0,
            is_crowded: false,
            waiting: VecDeque::new(),
            errand: None,
            is_watched: false,
        });
        Arc::new(Self { batch, width, most, runtime, queue })
    }

    /// Has an operation carried out. A future that is dropped leaves open whether it was.
    pub(crate) async fn call(
        self: &Arc<Self>,
        operation: B::Operation,
    ) -> Result<B::Reply, Failure> {
        let (tell, mut answer) = oneshot::channel();
        self.queue().waiting.push_back(Waiting { since: Instant::now(), operation, tell });
        if let Some(errand) = self.begin() {
            let beginner = Beginner(errand);
            // The answer needn't wake anybody: it comes while this is polled. Where another statement brings it,
            // because this one still waits for a connection, it is heard when a task waits instead at the latest.
            let answered = poll_fn(|context| match (beginner.poll(context), answer.try_recv()) {
                (_, Ok(answered)) => Poll::Ready(Some(answered)),
                (_, Err(TryRecvError::Closed)) => Poll::Ready(Some(Err(Failure::cut_off()))),
                (begun, Err(TryRecvError::Empty)) => begun.map(|()| None),
            });
            if let Some(answered) = answered.await {
                return answered;
            }
        } else {
            self.send();
        }
        answer.await.unwrap_or_else(|_| Err(Failure::cut_off()))
    }

    /// What a call sends itself: what waits, where nothing is under way.
    fn begin(self: &Arc<Self>) -> Option<Arc<Errand>> {
        let mut queue = self.queue();
        // With room for one alone, nobody waits for a call that may not be polled.
        if self.width == 1 || queue.under_way > 0 || queue.is_crowded || !self.is_due(&queue, 0) {
            return None;
        }
        queue.under_way += 1;
        let sender = Sender { lane: Arc::clone(self), has_ended: false };
        let errand = Errand::new(&self.runtime, send_waiting(sender));
        queue.errand = Some(Arc::clone(&errand));
        let is_watched = replace(&mut queue.is_watched, true);
        drop(queue);
        if !is_watched {
            self.runtime.spawn(watch(Arc::clone(self)));
        }
        Some(errand)
    }

    /// The statement that a call sends itself just now. None: nobody watches any more.
    fn watched(&self) -> Option<Arc<Errand>> {
        let mut queue = self.queue();
        queue.errand.take_if(|errand| errand.is_over());
        queue.is_watched = queue.errand.is_some();
        queue.errand.clone()
    }

    /// Has one more statement sent, if what waits is to have one now.
    fn send(self: &Arc<Self>) {
        let mut queue = self.queue();
        if !self.is_due(&queue, queue.under_way) {
            let errand = queue.errand.clone();
            drop(queue);
            // It may be that what this waits for isn't polled.
            if let Some(errand) = errand {
                errand.take_over();
            }
            return;
        }
        queue.under_way += 1;
        drop(queue);
        self.runtime.spawn(send_waiting(Sender { lane: Arc::clone(self), has_ended: false }));
    }

    /// Whether what waits is to have a statement beside so many others.
    fn is_due(&self, queue: &Queue<B>, others: usize) -> bool {
        let has_room = queue.soon == 0 || queue.waiting.len() >= self.most;
        !queue.waiting.is_empty() && others < self.width && has_room
    }

    /// Whether many ask at once.
    fn is_crowded(&self) -> bool {
        self.queue().is_crowded
    }

    /// Whether there is a next statement. If not, the sender ends.
    fn goes_on(&self) -> bool {
        let mut queue = self.queue();
        let goes_on = self.is_due(&queue, queue.under_way - 1);
        if !goes_on {
            queue.under_way -= 1;
        }
        goes_on
    }

    /// What goes in the next statement, less what nobody waits for any more, and whether that is much. Nothing: the
    /// sender ends.
    fn next(&self) -> (Vec<Waiting<B>>, Option<Soon<'_, B>>) {
        let mut queue = self.queue();
        let (mut next, mut keys) = (Vec::new(), 0);
        if !self.is_due(&queue, queue.under_way - 1) {
            queue.under_way -= 1;
            return (next, None);
        }
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
            return (next, None);
        }
        queue.is_crowded = next.len() >= FEW;
        queue.soon += usize::from(queue.is_crowded);
        let soon = queue.is_crowded.then(|| Soon(self));
        (next, soon)
    }

    /// Those who have waited since before `moment`, and hear what has become of that.
    fn take_older(&self, moment: Instant) -> Vec<oneshot::Sender<Result<B::Reply, Failure>>> {
        let mut queue = self.queue();
        let count = queue.waiting.partition_point(|waiting| waiting.since < moment);
        queue.waiting.drain(..count).map(|waiting| waiting.tell).collect()
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

/// A statement with many operations, until all are answered, or it is seen that this takes long.
struct Soon<'a, B: Batch>(&'a Lane<B>);

impl<B: Batch> Drop for Soon<'_, B> {
    fn drop(&mut self) {
        self.0.queue().soon -= 1;
    }
}

/// Has a task go on with what a call neglects. One watch serves many calls: a timer for each would cost more than
/// what they save.
async fn watch<B: Batch>(lane: Arc<Lane<B>>) {
    let mut seen: Option<Arc<Errand>> = None;
    while let Some(errand) = lane.watched() {
        if seen.is_some_and(|seen| Arc::ptr_eq(&seen, &errand)) {
            errand.take_over();
        }
        seen = Some(errand);
        sleep(NEGLECTED).await;
    }
}

/// Sends what waits, until nothing does.
async fn send_waiting<B: Batch>(mut sender: Sender<B>) {
    let lane = Arc::clone(&sender.lane);
    let mut soon = None;
    loop {
        if lane.is_crowded() {
            // Who was just told asks for the next thing, and that goes along.
            yield_now().await;
        }
        drop(soon.take());
        if !lane.goes_on() {
            sender.has_ended = true;
            return;
        }
        // First the way: what is asked until there is one goes along, and what nobody waits for any more by
        // then is never sent.
        let looked = Instant::now();
        let way = lane.batch.way().await;
        let next;
        (next, soon) = lane.next();
        if next.is_empty() {
            sender.has_ended = true;
            return;
        }
        let (operations, tellers): (Vec<_>, Vec<_>) =
            next.into_iter().map(|waiting| (waiting.operation, waiting.tell)).unzip();
        let outcome = match way {
            Ok(way) => send(&lane, way, &operations, &mut soon).await,
            Err(failure) => {
                tell_all(tellers, &failure);
                // Nor do those hear of it one statement after the other who wait as long.
                tell_all(lane.take_older(looked), &failure);
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
                drop(soon.take());
                lane.send();
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

/// Sends these. What waits for them has a statement of its own if they take long.
async fn send<B: Batch>(
    lane: &Arc<Lane<B>>,
    way: B::Way,
    operations: &[B::Operation],
    soon: &mut Option<Soon<'_, B>>,
) -> Result<Vec<B::Reply>, Failure> {
    let mut sending = pin!(lane.batch.send(way, operations));
    if soon.is_none() {
        // What is left of what waited while there was no room.
        lane.send();
        return sending.await;
    }
    if let Ok(outcome) = timeout(SLOW, &mut sending).await {
        return outcome;
    }
    drop(soon.take());
    lane.send();
    sending.await
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

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;
    use tokio::task::JoinSet;
    use tokio::time::sleep;

    use super::*;
    use crate::failure::Cause;

    /// Waits for the gate.
    const HELD: u32 = 0;
    /// Waits for it by itself; with others it has all of them refused.
    const REFUSED: u32 = 1;
    /// Waits for it, and is in a statement of its own.
    const ALONE: u32 = 2;

    /// Carries out everything else at once.
    #[derive(Clone)]
    struct Gated {
        gate: Arc<Semaphore>,
        sent: Arc<Mutex<Vec<usize>>>,
        /// How many statements were sent to their end.
        answered: Arc<AtomicUsize>,
    }

    impl Gated {
        fn new() -> Self {
            Self {
                gate: Arc::new(Semaphore::new(0)),
                sent: Arc::default(),
                answered: Arc::default(),
            }
        }

        fn lane(&self) -> Arc<Lane<Self>> {
            Lane::new(self.clone(), 2, 32, Handle::current())
        }

        /// A lane that many have asked just now: what is asked at once goes together.
        fn crowded_lane(&self) -> Arc<Lane<Self>> {
            let lane = self.lane();
            lane.queue().is_crowded = true;
            lane
        }

        /// How many operations each statement had so far.
        fn sent(&self) -> Vec<usize> {
            self.sent.lock().expect("no panic").clone()
        }

        async fn until_sent(&self) {
            while self.sent().is_empty() {
                yield_now().await;
            }
        }
    }

    impl Batch for Gated {
        type Operation = u32;
        type Reply = u32;
        type Way = ();

        fn keys(_: &u32) -> usize {
            1
        }

        fn is_alone(operation: &u32) -> bool {
            *operation == ALONE
        }

        async fn way(&self) -> Result<(), Failure> {
            Ok(())
        }

        async fn send(&self, (): (), operations: &[u32]) -> Result<Vec<u32>, Failure> {
            self.sent.lock().expect("no panic").push(operations.len());
            if operations.contains(&REFUSED) && operations.len() > 1 {
                return Err(Failure::Refused(Arc::new(Cause::Busy)));
            }
            if operations.iter().any(|it| [HELD, REFUSED, ALONE].contains(it)) {
                self.gate.acquire().await.expect("open").forget();
            }
            self.answered.fetch_add(1, Ordering::Relaxed);
            Ok(operations.to_vec())
        }
    }

    /// Finds no way, which takes a second.
    struct Wayless;

    impl Batch for Wayless {
        type Operation = ();
        type Reply = ();
        type Way = ();

        fn keys((): &()) -> usize {
            1
        }

        fn is_alone((): &()) -> bool {
            false
        }

        async fn way(&self) -> Result<(), Failure> {
            sleep(Duration::from_secs(1)).await;
            Err(Failure::not_connected_in_time())
        }

        async fn send(&self, (): (), _: &[()]) -> Result<Vec<()>, Failure> {
            unreachable!("there is no way")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_wait_all_hear_soon_that_there_is_no_way() {
        let lane = Lane::new(Wayless, 2, 32, Handle::current());
        let asked = Instant::now();
        let mut asking = JoinSet::new();
        for _ in 0..1000 {
            let lane = Arc::clone(&lane);
            asking.spawn(async move { lane.call(()).await });
        }
        assert!(asking.join_all().await.iter().all(Result::is_err));
        assert!(asked.elapsed() <= Duration::from_secs(3), "{:?}", asked.elapsed());
    }

    /// Asks for all of these at once.
    fn ask<I: IntoIterator<Item = u32>>(
        lane: &Arc<Lane<Gated>>,
        operations: I,
    ) -> impl Future<Output = Vec<Result<u32, Failure>>> + use<I> {
        let mut asking = JoinSet::new();
        for operation in operations {
            let lane = Arc::clone(lane);
            asking.spawn(async move { lane.call(operation).await });
        }
        asking.join_all()
    }

    /// Asks for twelve operations, of which one waits for the gate, and then for a few, and for many, in turns.
    async fn go_on_behind(held: u32, sent_before: &[usize]) {
        let gated = Gated::new();
        let lane = gated.crowded_lane();
        let slow = tokio::spawn(ask(&lane, [held].into_iter().chain(10..21)));
        gated.until_sent().await;
        for _ in 0..3 {
            for count in [3, 12] {
                let asked = ask(&lane, 10..10 + count);
                let replies = timeout(Duration::from_secs(5), asked).await;
                assert_eq!(replies.expect("it isn't held up").len(), count as usize);
            }
        }
        let after = [3, 12, 3, 12, 3, 12];
        assert_eq!(gated.sent(), [sent_before, &after].concat());
        assert!(!slow.is_finished());
        gated.gate.add_permits(1);
        let replies = slow.await.expect("no panic").into_iter().flatten();
        assert_eq!(replies.sum::<u32>(), held + (10..21).sum::<u32>());
    }

    #[tokio::test(start_paused = true)]
    async fn behind_a_statement_that_takes_long_others_go_together_time_and_again() {
        go_on_behind(HELD, &[12]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn behind_operations_that_are_sent_one_by_one_others_go_together_time_and_again() {
        go_on_behind(REFUSED, &[12, 1]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn behind_an_operation_in_a_statement_of_its_own_what_waited_with_it_goes_on() {
        let gated = Gated::new();
        let lane = gated.crowded_lane();
        let many = tokio::spawn(ask(&lane, [HELD].into_iter().chain(10..21)));
        gated.until_sent().await;
        let alone = tokio::spawn(ask(&lane, [ALONE]));
        yield_now().await;
        let behind = ask(&lane, [10]);
        yield_now().await;
        // Before it takes long.
        gated.gate.add_permits(1);
        many.await.expect("no panic");
        let replies = timeout(Duration::from_secs(5), behind).await;
        assert_eq!(replies.expect("it isn't held up").len(), 1);
        assert_eq!(gated.sent(), [12, 1, 1]);
        gated.gate.add_permits(1);
        assert_eq!(alone.await.expect("no panic").len(), 1);
    }

    /// A call that was polled, and hasn't its answer yet.
    async fn begun(
        lane: &Arc<Lane<Gated>>,
    ) -> Pin<Box<impl Future<Output = Result<u32, Failure>> + use<>>> {
        let lane = Arc::clone(lane);
        let mut call = Box::pin(async move { lane.call(HELD).await });
        let polled = poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
        assert!(polled.is_pending());
        call
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_alone_is_sent_without_a_task() {
        let gated = Gated::new();
        let call = begun(&gated.lane()).await;
        assert_eq!(gated.sent(), [1]);
        gated.gate.add_permits(1);
        assert_eq!(call.await.ok(), Some(HELD));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_call_has_sent_is_carried_to_its_end_when_that_is_dropped() {
        let gated = Gated::new();
        drop(begun(&gated.lane()).await);
        gated.gate.add_permits(1);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(gated.answered.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_call_has_sent_is_carried_to_its_end_while_nobody_polls_that() {
        let gated = Gated::new();
        let lane = gated.lane();
        let neglected = [begun(&lane).await, begun(&lane).await];
        gated.gate.add_permits(2);
        sleep(NEGLECTED * 2 + Duration::from_millis(1)).await;
        assert_eq!(gated.answered.load(Ordering::Relaxed), 2);
        for call in neglected {
            assert_eq!(call.await.ok(), Some(HELD));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_statement_takes_long_hears_the_answer() {
        let gated = Gated::new();
        let call = tokio::spawn(begun(&gated.lane()).await);
        sleep(NEGLECTED * 3).await;
        gated.gate.add_permits(1);
        assert_eq!(call.await.expect("no panic").ok(), Some(HELD));
    }

    #[tokio::test]
    async fn a_watch_ends_when_nothing_is_under_way() {
        let lane = Gated::new().lane();
        for _ in 0..3 {
            assert_eq!(lane.call(10).await.ok(), Some(10));
        }
        assert!(lane.queue().is_watched);
        sleep(NEGLECTED * 3).await;
        assert!(!lane.queue().is_watched);
        assert!(lane.queue().errand.is_none());
    }
}
