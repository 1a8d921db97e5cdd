//! Random work by many clients at once, judged by its history.

use std::time::Duration;

use crate::fixture::Fixture;
use crate::history::{History, Workload, check};
use crate::support::always;

pub(crate) async fn random_work_by_many_clients_breaks_no_promise(f: Fixture) {
    let workload = Workload::new().with_operations(f.scaled_by_turns(400_000));
    judge(&f, &workload).await;
}

pub(crate) async fn random_work_under_short_leases_breaks_no_promise(f: Fixture) {
    let workload = Workload::new()
        .with_operations(f.scaled_by_turns(80_000))
        .with_expiry(Duration::from_millis(60));
    judge(&f, &workload).await;
}

pub(crate) async fn a_crowd_in_one_process_breaks_no_promise(f: Fixture) {
    let workload =
        Workload::new().with_operations(f.scaled_by_turns(400_000)).with_keys(1).with_crowd(24);
    judge(&f, &workload).await;
}

async fn judge(f: &Fixture, workload: &Workload) {
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(f.client().await);
    }
    let history = workload.run(&clients, |n| f.key(&n.to_string())).await;
    keeps_every_promise(&history, workload);
    assert!(history.holds() > 0, "something was done");
}

/// Of what was done under a workload.
pub(super) fn keeps_every_promise(history: &History, workload: &Workload) {
    let violations: Vec<String> = check(history).iter().map(ToString::to_string).collect();
    always!(violations.is_empty(), "seed {}: {}", workload.seed(), violations.join("\n"));
}
