//! Asking who holds what.

mod support;

use locking_core::Error;
use support::FakeStore;
use support::fault::Fault;

#[tokio::test]
async fn a_question_that_is_not_answered_has_no_outcome_that_could_be_unknown() {
    let (store, module) = FakeStore::with_module();
    store.questions.all(Fault::Unknown);
    let refused = [module.inspect("a").await.map(drop), module.list().await.map(drop)];
    for refused in refused {
        let error = refused.expect_err("no answer");
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert!(format!("{error:?}").contains("told to fail"), "the source is kept: {error:?}");
    }
}
