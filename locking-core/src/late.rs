use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

/// How late a timer is on a machine that runs.
const USUAL: Duration = Duration::from_millis(5);

/// The output of a future, if it is there by `until`. Who is late to look, because the machine ran nothing
/// for a while, looks for as long again: what it waits for had no more of the time than it had itself.
/// 35 ms at most.
pub(crate) async fn by<F: Future>(until: Instant, future: F) -> Option<F::Output> {
    const MOST: Duration = Duration::from_millis(35);
    let mut future = pin!(future);
    if let Ok(output) = timeout_at(until, &mut future).await {
        return Some(output);
    }
    let late = until.elapsed();
    if late < USUAL {
        return None;
    }
    timeout(late.min(MOST), future).await.ok()
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_late_to_look_waits_for_as_long_again() {
        let until = Instant::now() + Duration::from_millis(10);
        let answer = async {
            // The machine stands still, and the answer takes 20 ms after that.
            advance(Duration::from_millis(40)).await;
            sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(by(until, answer).await, Some(()));
        let until = Instant::now() + Duration::from_millis(10);
        assert_eq!(by(until, sleep(Duration::from_millis(20))).await, None);
    }
}
