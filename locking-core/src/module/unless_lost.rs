use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, ready};

use crate::error::Result;
use crate::guard::LockGuard;

/// Runs a job until it ends or its lock is lost.
///
/// A loss that was signalled is looked for before the job is polled, so that it doesn't go on to yet
/// another await. What takes a timer or a waker comes after it, so that a job which is ready at once
/// needs neither; whether the lock was lost in the same instant is checked when the job has ended.
pub(super) async fn unless_lost<Fut: Future>(guard: &LockGuard, job: Fut) -> Result<Fut::Output> {
    let (mut job, mut lost) = (pin!(job), pin!(guard.lost_by_signal()));
    poll_fn(|context| {
        if let Some(reason) = guard.signalled() {
            return Poll::Ready(Err(guard.lost_error(reason)));
        }
        if let Poll::Ready(output) = job.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        let reason = ready!(lost.as_mut().poll(context));
        Poll::Ready(Err(guard.lost_error(reason)))
    })
    .await
}
