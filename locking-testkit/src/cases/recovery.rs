//! What a server forgets while it runs.

use std::time::Duration;

use tokio::time::sleep;

use super::trial::{Operation, Trial};
use crate::fixture::Fixture;

/// Over an unbroken connection, nobody notices.
pub(crate) async fn what_was_prepared_is_prepared_again(f: Fixture) {
    let trial = Trial::new(&f).await;
    let forgetting = async {
        loop {
            f.server().forget_prepared().await;
            sleep(Duration::from_micros(fastrand::u64(..3_000))).await;
        }
    };
    let working = async {
        for _ in 0..f.scaled(500) {
            for operation in Operation::ALL.into_iter().filter(|one| one.is_claimed(&f)) {
                trial.undisturbed(operation).await;
            }
        }
    };
    tokio::select! {
        () = forgetting => {}
        () = working => {}
    }
}
