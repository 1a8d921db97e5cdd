//! The server does what it is asked for, and its answer is lost with the connection.

use super::trial::{Operation, Trial, for_each_operation};
use crate::faults::{Cut, Fault};
use crate::fixture::Fixture;

// Each of these is answered, found out or undone, and nobody is told what isn't so.
for_each_operation!(lose_replies);

async fn lose_replies(f: &Fixture, operation: Operation) {
    let trial = Trial::new(f).await;
    for _ in 0..f.scaled(200) {
        for cut in [Cut::Reset, Cut::Close] {
            // What the client does in the background may be what it happens to.
            let mut tries = 1..5;
            while !trial.with_fault(operation, Fault::LoseReply { cut }).await {
                assert!(tries.next().is_some(), "a reply was to be lost");
            }
        }
    }
}
