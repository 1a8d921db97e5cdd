//! The server does what it is asked for, and its answer is lost with the connection.

use super::trial::{Operation, Trial};
use crate::faults::{Cut, Fault};
use crate::fixture::Fixture;

/// Each of these is answered, found out or undone, and nobody is told what isn't so.
macro_rules! operations {
    ($($case:ident: $operation:ident;)+) => {
        $(pub(crate) async fn $case(f: Fixture) {
            lose_replies(&f, Operation::$operation).await;
        })+
    };
}

operations! {
    acquire_of_a_free_key: Acquire;
    acquire_of_several_keys: AcquireSeveral;
    acquire_that_waits: AcquireWaiting;
    acquire_that_reenters: Reenter;
    lock: Lock;
    execute: Execute;
    extend: Extend;
    release_of_a_lease: ReleaseLease;
    release: Release;
    release_of_a_guard: ReleaseGuard;
    release_all: ReleaseAll;
}

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
