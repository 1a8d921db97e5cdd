//! Statements that somebody cancels on the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use locking_core::{Error, LockingModule};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::{
    LONG, SOON, connect, foreign, is_free, module, ms, options, scaled, until_nothing_is_left,
};

/// Whose statements are cancelled.
const NAME: &str = "cancelled";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_statement_that_is_cancelled_on_the_server_changes_nothing_or_is_answered() {
    let server = crate::server().await;
    let observer = module(&server).await;
    let named = options(&format!("{}?application_name={NAME}", server.url()));
    let cancelled = LockingModule::with_provider(connect(named).await.expect("connected"));
    let canceller = foreign(&server).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let cancelling = tokio::spawn({
        let is_over = Arc::clone(&is_over);
        async move {
            let active = format!(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                 WHERE application_name LIKE '{NAME}%' AND state = 'active'"
            );
            while !is_over.load(Ordering::Relaxed) {
                canceller.batch_execute(&active).await.expect("cancelled");
            }
        }
    });
    let (tasks, rounds) = (16, scaled(100_000, 3_200) / 16);
    let mut working = JoinSet::new();
    for task in 0..tasks {
        let (cancelled, observer) = (cancelled.clone(), observer.clone());
        working.spawn(async move {
            let (key, mut refused) = (format!("k{task}"), 0);
            for round in 0..rounds {
                refused += if round % 2 == 0 {
                    by_a_lease(&cancelled, &observer, &key).await
                } else {
                    by_a_guard(&cancelled, &observer, &key).await
                };
            }
            refused
        });
    }
    let refused: usize = working.join_all().await.into_iter().sum();
    is_over.store(true, Ordering::Relaxed);
    cancelling.await.expect("no panic");
    assert!(refused > rounds / 20, "{refused} of {} were cancelled", tasks * rounds);
    until_nothing_is_left(&server).await;
}

/// Takes a key and gives it back. Answers how many of the calls failed.
async fn by_a_lease(cancelled: &LockingModule, observer: &LockingModule, key: &str) -> usize {
    let mut refused = 0;
    match cancelled.acquire(key).await {
        Err(error) => {
            not_held_after(&error, observer, key).await;
            return 1;
        }
        Ok(lease) => {
            assert!(!is_free(observer, key).await, "granted is held");
            while let Err(error) = cancelled.release_lease(&lease).await {
                assert_cancelled(&error);
                refused += 1;
            }
        }
    }
    assert!(is_free(observer, key).await, "given back is free");
    refused
}

/// The same as a guard, which waits: that it is refused is no answer to a wait.
async fn by_a_guard(cancelled: &LockingModule, observer: &LockingModule, key: &str) -> usize {
    let guard = match cancelled.lock(key).timeout(LONG).await {
        Err(error) => {
            not_held_after(&error, observer, key).await;
            return 1;
        }
        Ok(guard) => guard,
    };
    assert!(!is_free(observer, key).await, "granted is held");
    let Err(error) = guard.release().await else {
        assert!(is_free(observer, key).await, "given back is free");
        return 0;
    };
    assert_cancelled(&error);
    until_free(observer, key).await;
    1
}

async fn not_held_after(error: &Error, observer: &LockingModule, key: &str) {
    assert_cancelled(error);
    match error {
        Error::UnknownOutcome { .. } => until_free(observer, key).await,
        _ => assert!(is_free(observer, key).await, "an error means that it isn't held"),
    }
}

fn assert_cancelled(error: &Error) {
    let is_expected = matches!(error, Error::Unavailable { .. } | Error::UnknownOutcome { .. });
    assert!(is_expected, "{error:?}");
}

async fn until_free(observer: &LockingModule, key: &str) {
    let free = async {
        while !is_free(observer, key).await {
            sleep(ms(2)).await;
        }
    };
    timeout(SOON, free).await.expect("what is undone is free soon");
}
