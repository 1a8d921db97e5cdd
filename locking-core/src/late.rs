use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

/// For how long a wait whose time is over lasts on: for an answer that is about to come, and to be taken back at
/// the store.
const GRACE: Duration = Duration::from_millis(35);

/// How late a timer is on a machine that runs.
const USUAL: Duration = Duration::from_millis(5);

/// The output of a future, if it is there at the deadline, or a little later. Who is late to look, because the
/// machine ran nothing for a while, looks for as long again: what it waits for had no more of the time than
/// it had itself.
pub(crate) async fn at<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    let (until, mut future) = (deadline + GRACE, pin!(future));
    if let Ok(output) = timeout_at(until, &mut future).await {
        return Some(output);
    }
    let late = until.elapsed();
    if late < USUAL {
        return None;
    }
    timeout(late.min(GRACE), future).await.ok()
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_late_to_look_waits_for_as_long_again() {
        let deadline = Instant::now();
        let answer = async {
            // The machine stands still, and the answer takes 20 ms after that.
            advance(Duration::from_millis(65)).await;
            sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(at(deadline, answer).await, Some(()));
        let deadline = Instant::now();
        assert_eq!(at(deadline, sleep(GRACE + Duration::from_millis(10))).await, None);
    }
}
