//! What the contract says of restarts, against servers that keep what they commit.

mod harness;

use std::sync::Arc;

use harness::Shared;
use locking_core::Capability;
use locking_postgres::CAPABILITIES;
use locking_testkit::servers::PostgresSetup;
use locking_testkit::{CASES, Harness, Outcome, Scale, run_case};

#[tokio::test(flavor = "multi_thread")]
async fn leases_survive_restarts_of_a_server_that_keeps_what_it_commits() {
    let durable = || PostgresSetup::new().durable();
    let server = durable().start().await.expect("a durable server");
    let harness: Arc<dyn Harness> = Arc::new(Shared::new(server, durable));
    let claims = CAPABILITIES.with(Capability::SurvivesRestart);
    let mut passed = 0;
    for case in CASES {
        let of_restarts = case.needs.contains(&Capability::SurvivesRestart);
        if of_restarts || case.name == "claims::the_provider_claims_what_its_harness_says" {
            let report = run_case(case, Arc::clone(&harness), claims, Scale::Hundredth).await;
            assert!(matches!(report.outcome, Outcome::Passed), "{report:?}");
            passed += 1;
        }
    }
    assert!(passed > 1, "there are cases of restarts");
}
