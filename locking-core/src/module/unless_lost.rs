use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::runtime::{Handle, Id};

use crate::error::Result;
use crate::guard::LockGuard;
use crate::loss::LossReason;

/// Runs a job until it ends or its lock is lost.
///
/// A loss that was signalled is looked for before the job is polled, so that it doesn't go on to yet
/// another await. What takes a timer or a waker comes after it, so that a job which is ready at once
/// needs neither; whether the lock was lost in the same instant is checked when the job has ended.
pub(super) async fn unless_lost<Fut: Future>(guard: &LockGuard, job: Fut) -> Result<Fut::Output> {
    let (mut job, mut lost) = (pin!(job), pin!(guard.lost_by_signal()));
    let mut elsewhere = LostElsewhere { guard, waiting: None };
    poll_fn(|context| {
        if let Some(reason) = guard.signalled() {
            return Poll::Ready(Err(guard.lost_error(reason)));
        }
        if let Poll::Ready(output) = job.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        let told = lost.as_mut().poll(context);
        let told = if told.is_ready() { told } else { elsewhere.poll(context) };
        told.map(|reason| Err(guard.lost_error(reason)))
    })
    .await
}

/// Waits for the local deadline where another runtime polls the job than the one that renews its lock:
/// that one may stand still, and give no signal.
struct LostElsewhere<'a> {
    guard: &'a LockGuard,
    /// With the runtime whose timer it uses. In a box: the usual job needs no room for it.
    waiting: Option<(Id, Lost<'a>)>,
}

type Lost<'a> = Pin<Box<dyn Future<Output = LossReason> + Send + 'a>>;

impl LostElsewhere<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<LossReason> {
        // Asked each time: the call may be handed on to yet another runtime.
        let Ok(here) = Handle::try_current().map(|runtime| runtime.id()) else {
            return Poll::Pending;
        };
        if here == self.guard.runtime() {
            self.waiting = None;
            return Poll::Pending;
        }
        let guard = self.guard;
        let waiting = self.waiting.take().filter(|(there, _)| *there == here);
        let waiting = waiting.unwrap_or_else(|| (here, Box::pin(guard.lost())));
        self.waiting.insert(waiting).1.as_mut().poll(context)
    }
}
