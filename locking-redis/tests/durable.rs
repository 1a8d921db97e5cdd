//! The cases of the contract suite that a server tells apart that keeps its locks over a restart.

mod harness;

use std::sync::Arc;

use locking_core::Capability;
use locking_redis::CAPABILITIES;
use locking_testkit::{CASES, Harness, Outcome, Scale, run_case};

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_server_keeps_its_locks_over_restarts() {
    let claims = CAPABILITIES.with(Capability::SurvivesRestart);
    let harness: Arc<dyn Harness> = Arc::new(harness::Shared::durable().await);
    let topics = ["claims::", "restarts::", "soak::"];
    let (mut passed, mut failed) = (0, Vec::new());
    for case in CASES.iter().filter(|case| topics.iter().any(|topic| case.name.starts_with(topic)))
    {
        let report = run_case(case, Arc::clone(&harness), claims, Scale::Hundredth).await;
        match report.outcome {
            Outcome::Passed => passed += 1,
            outcome => failed.push((case.name, outcome)),
        }
    }
    assert!(failed.is_empty(), "{passed} passed, but {failed:#?}");
}
