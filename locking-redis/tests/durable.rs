//! What the contract says of restarts, against servers that write every command to disk.

mod harness;

use std::sync::Arc;

use harness::Shared;
use locking_core::Capability;
use locking_redis::CAPABILITIES;
use locking_testkit::servers::RedisSetup;
use locking_testkit::{CASES, Harness, Outcome, Scale, run_case};

const CLAIMS: &str = "claims::the_provider_claims_what_its_harness_says";

#[tokio::test(flavor = "multi_thread")]
async fn locks_survive_restarts_of_a_server_that_writes_every_command_to_disk() {
    let durable = || RedisSetup::new().durable();
    let server = durable().start().await.expect("a durable server");
    let harness: Arc<dyn Harness> = Arc::new(Shared::new(server, durable));
    let claims = CAPABILITIES.with(Capability::SurvivesRestart);
    let mut passed = 0;
    for case in CASES {
        let of_restarts = case.needs.contains(&Capability::SurvivesRestart);
        let is_soak = case.name.starts_with("soak::");
        if of_restarts || is_soak || case.name == CLAIMS {
            let report = run_case(case, Arc::clone(&harness), claims, Scale::Hundredth).await;
            assert!(matches!(report.outcome, Outcome::Passed), "{report:?}");
            passed += 1;
        }
    }
    assert!(passed > 2, "there are cases of restarts");
}
