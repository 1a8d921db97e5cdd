//! What the contract says of restarts, against servers that keep what they commit.

mod harness;

use std::sync::Arc;

use harness::{BEHIND_A_POOLER, Shared};
use locking_core::{Capabilities, Capability};
use locking_postgres::CAPABILITIES;
use locking_testkit::servers::PostgresSetup;
use locking_testkit::{CASES, Case, Harness, Outcome, Scale, run_case};

#[tokio::test(flavor = "multi_thread")]
async fn leases_survive_restarts_of_a_server_that_keeps_what_it_commits() {
    let passed = run(harness().await, CAPABILITIES, Scale::Hundredth, |case| {
        is_of_restarts(case) || is_soak(case)
    });
    assert!(passed.await > 2, "there are cases of restarts");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_and_guards_survive_restarts_behind_a_pooler() {
    let pooled = harness().await.behind_a_pooler().await;
    let passed = run(pooled, BEHIND_A_POOLER, Scale::Hundredth, is_of_restarts).await;
    assert!(passed > 1, "there are cases of restarts");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "ten minutes of faults and restarts"]
async fn random_work_under_faults_and_restarts_breaks_no_promise() {
    assert_eq!(run(harness().await, CAPABILITIES, Scale::Full, is_soak).await, 1);
}

fn is_of_restarts(case: &Case) -> bool {
    case.needs.contains(&Capability::SurvivesRestart)
        || case.name == "claims::the_provider_claims_what_its_harness_says"
}

fn is_soak(case: &Case) -> bool {
    case.name.starts_with("soak::")
}

async fn harness() -> Shared {
    let durable = || PostgresSetup::new().durable();
    Shared::new(durable().start().await.expect("a durable server"), durable)
}

async fn run(
    harness: Shared,
    claims: Capabilities,
    scale: Scale,
    chosen: impl Fn(&Case) -> bool,
) -> usize {
    let harness: Arc<dyn Harness> = Arc::new(harness);
    let claims = claims.with(Capability::SurvivesRestart);
    let mut passed = 0;
    for case in CASES.iter().filter(|case| chosen(case)) {
        let report = run_case(case, Arc::clone(&harness), claims, scale).await;
        assert!(matches!(report.outcome, Outcome::Passed), "{report:?}");
        passed += 1;
    }
    passed
}
