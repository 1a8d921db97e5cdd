//! Connections that are reset at any byte of what is said over them.

use std::sync::Arc;

use super::trial::{Operation, Trial, for_each_operation};
use crate::faults::{Cut, Direction, Fault, Since};
use crate::fixture::Fixture;

// Each of these is done or undone, and its client works on.
for_each_operation!(reset_at_bytes);

/// Listens to the operation, then repeats it with a reset at each byte, of both directions; at
/// hundredth scale, at some of them.
async fn reset_at_bytes(f: &Fixture, operation: Operation) {
    let trial = Trial::new(f).await;
    // What is prepared at the first time isn't what is listened to.
    trial.undisturbed(operation).await;
    let (proxy, (tell, before)) = (Arc::clone(&trial.proxy), std::sync::mpsc::channel());
    let listen = move || tell.send(proxy.counts()).expect("listened to below");
    trial.run(operation, Box::new(listen)).await;
    let said = trial.proxy.counts().since(&before.try_recv().expect("it was called"));
    let mut resets = 0;
    for direction in [Direction::ToServer, Direction::ToClient] {
        let bytes = said.bytes(direction);
        assert!(bytes > 0, "{operation:?} says something {direction:?}");
        // The last one is behind everything: the answer is there, and the connection is not.
        let stride = (bytes / f.scaled(500) as u64).max(1);
        let first = fastrand::u64(..stride);
        for bytes in [0].into_iter().chain((first.max(1)..bytes).step_by(stride as usize)) {
            let (since, cut) = (Since::Now, Cut::Reset);
            let fault = Fault::CutAfter { direction, bytes, since, cut };
            resets += usize::from(trial.with_fault(operation, fault).await);
        }
    }
    assert!(resets > 1, "connections were reset");
}
