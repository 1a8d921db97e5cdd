//! Steps of workflows at a store that fails, and how their inputs are written.

mod support;

use std::sync::Arc;
use std::time::Duration;

use locking_core::workflow::{AcquireLockStep, ReleaseLockStep, StepLease, WorkflowRun};
use locking_core::{Error, Expiry, InvalidInput, KeySet, LockingModule, OwnerId, ProviderId};
use serde_json::{Value, json};
use support::fault::Fault;
use support::{FakeStore, seconds};
use tokio::time::{Instant, sleep, timeout};

const INTERVAL: Duration = Duration::from_millis(300);

fn run() -> WorkflowRun {
    WorkflowRun::new("r1").expect("a valid id")
}

fn step() -> AcquireLockStep {
    AcquireLockStep::new("a", seconds(30)).expect("valid")
}

fn read(input: Value) -> Result<AcquireLockStep, String> {
    serde_json::from_value(input).map_err(|error| error.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_reached_or_is_full_is_asked_again_after_the_retry_interval() {
    for fault in [Fault::Unavailable, Fault::Full] {
        let (store, module) = FakeStore::with_module();
        store.acquisitions.next(2, fault);
        let begun = Instant::now();
        let lease = step().with_timeout(seconds(2)).invoke(&module, &run()).await;
        lease.expect("granted at the third attempt");
        assert_eq!((store.acquisitions.count(), begun.elapsed()), (3, INTERVAL * 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_is_asked_no_more_once_the_timeout_is_over() {
    let (store, module) = FakeStore::with_module();
    store.acquisitions.all(Fault::Unavailable);
    let begun = Instant::now();
    let step = step().with_timeout(seconds(1)).with_retry_interval(INTERVAL * 2);
    let refused = step.invoke(&module, &run()).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    assert_eq!((store.acquisitions.count(), begun.elapsed()), (2, INTERVAL * 2));
}

#[tokio::test(start_paused = true)]
async fn all_attempts_have_one_deadline() {
    let (store, module) = FakeStore::with_module();
    module.acquire("a").owner("somebody").await.expect("granted");
    store.acquisitions.next(2, Fault::Unavailable);
    let begun = Instant::now();
    let late = step().with_timeout(seconds(2)).invoke(&module, &run()).await;
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    assert!(begun.elapsed() <= seconds(2) + Duration::from_millis(50), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_a_timeout_a_step_tries_once() {
    let (store, module) = FakeStore::with_module();
    store.acquisitions.all(Fault::Unavailable);
    let refused = step().invoke(&module, &run()).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    assert_eq!(store.acquisitions.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_told_at_once() {
    let (store, module) = FakeStore::with_module();
    store.acquisitions.all(Fault::Unknown);
    let unknown = step().with_timeout(seconds(2)).invoke(&module, &run()).await;
    assert!(matches!(unknown, Err(Error::UnknownOutcome { .. })), "{unknown:?}");
    assert_eq!(store.acquisitions.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_input_is_refused_before_the_store_is_asked() {
    let (store, module) = FakeStore::with_module();
    let refused = step().with_retry_interval(Duration::ZERO).invoke(&module, &run()).await;
    let no_pause = refused.expect_err("it would never rest");
    assert!(matches!(no_pause, Error::InvalidInput(InvalidInput::RetryInterval { .. })));
    let refused = step().with_timeout(Duration::MAX).invoke(&module, &run()).await;
    let too_long = refused.expect_err("no clock goes that far");
    assert!(matches!(too_long, Error::InvalidInput(InvalidInput::Wait { .. })));
    let refused = step().with_provider("lp_other").invoke(&module, &run()).await;
    let unknown = refused.expect_err("it isn't configured");
    assert!(matches!(unknown, Error::Configuration(_)) && unknown.to_string().contains("other"));
    assert_eq!(store.calls(), 0);

    assert!(matches!(AcquireLockStep::new("a", Duration::ZERO), Err(InvalidInput::Expiry { .. })));
    assert!(matches!(AcquireLockStep::new("", seconds(1)), Err(InvalidInput::Key { .. })));
    assert!(matches!(WorkflowRun::new("r".repeat(1016)), Err(InvalidInput::RunId { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_compensation_that_failed_can_be_called_again() {
    let (store, module) = FakeStore::with_module();
    let lease = step().invoke(&module, &run()).await.expect("granted");
    store.releases.next(2, Fault::Unavailable);
    let compensated = lease.compensate(&module).await;
    assert!(matches!(compensated, Err(Error::Unavailable { .. })), "{compensated:?}");
    let release = ReleaseLockStep::new(lease.clone());
    let released = release.invoke(&module, &run()).await;
    assert!(matches!(released, Err(Error::Unavailable { .. })), "{released:?}");
    assert!(store.is_held("a"));
    assert!(lease.compensate(&module).await.expect("the store answers"));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_took_nothing_asks_nothing_of_the_store_to_give_it_back() {
    let (store, module) = FakeStore::with_module();
    let held = step().invoke(&module, &run()).await.expect("granted");
    let nested = run().nested([&held]);
    let lease = step().invoke(&module, &nested).await.expect("entered again");
    store.releases.all(Fault::Unavailable);
    assert!(lease.compensate(&module).await.expect("nothing to do"));
    assert!(ReleaseLockStep::new(lease).invoke(&module, &nested).await.expect("nothing to do"));
}

#[tokio::test(start_paused = true)]
async fn a_replay_holds_its_keys_however_late_its_earlier_attempt_is_taken_back() {
    let (store, module) = FakeStore::with_module();
    store.attempts.next(1, Fault::Slow(seconds(3)));
    let dropped = timeout(INTERVAL, async { step().invoke(&module, &run()).await }).await;
    dropped.expect_err("it has taken the key, and doesn't answer yet");
    assert!(store.is_held("a"));
    let lease = step().invoke(&module, &run()).await.expect("granted");
    sleep(seconds(10)).await;
    assert_eq!(store.token("a"), lease.token_of("a"), "what was taken back was the other one's");
    assert!(lease.compensate(&module).await.expect("released") && !store.is_held("a"));
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_cannot_give_up_its_earlier_attempt_tells_so_and_goes_on_in_the_background() {
    let (store, module) = FakeStore::with_module();
    step().invoke(&module, &run()).await.expect("granted, and never told");
    store.releases.all(Fault::Unavailable);
    let begun = Instant::now();
    let unknown = step().invoke(&module, &run()).await;
    assert!(matches!(unknown, Err(Error::UnknownOutcome { .. })), "{unknown:?}");
    assert!(begun.elapsed() <= seconds(3), "{:?}", begun.elapsed());
    store.releases.recover();
    assert!(store.freed("a").await <= seconds(1));
}

#[tokio::test(start_paused = true)]
async fn what_a_replay_gives_up_is_free_within_a_second_however_long_the_retry_interval_is() {
    let (store, module) = FakeStore::with_module();
    step().invoke(&module, &run()).await.expect("granted, and never told");
    store.releases.all(Fault::Unavailable);
    let replay = step().with_retry_interval(seconds(3600)).invoke(&module, &run()).await;
    assert!(matches!(replay, Err(Error::UnknownOutcome { .. })), "{replay:?}");
    store.releases.recover();
    assert!(store.freed("a").await <= seconds(1));
    assert!(store.releases.count() < 100, "{} releases in 2 s", store.releases.count());
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_is_dropped_while_it_gives_up_its_earlier_attempt_leaves_nothing() {
    let (store, module) = FakeStore::with_module();
    let both = AcquireLockStep::new(["a", "b"], seconds(30)).expect("valid");
    both.invoke(&module, &run()).await.expect("granted, and never told");
    store.forget("b");
    store.releases.all(Fault::Unavailable);
    let dropped = timeout(INTERVAL, async { both.invoke(&module, &run()).await }).await;
    dropped.expect_err("the store doesn't take anything back");
    store.releases.recover();
    assert!(store.freed("a").await <= seconds(1) && store.freed("b").await <= seconds(1));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_over_is_told_as_timed_out_also_where_the_last_attempt_did_not_wait() {
    let (_, module) = FakeStore::with_module();
    module.acquire("a").owner("somebody").await.expect("granted");
    let late = step().with_timeout(Duration::from_nanos(1)).invoke(&module, &run()).await;
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
}

#[test]
fn what_is_no_steps_lease_is_not_taken_for_one_that_was_skipped() {
    let lease = json!({ "provider": "p", "owner": "o", "keys": [{ "key": "a", "token": 1, "taken": true }] });
    for wrong in [json!({}), lease.clone(), json!({ "lease": lease, "more": 1 })] {
        serde_json::from_value::<StepLease>(wrong).map(drop).expect_err("something else");
    }
    serde_json::from_value::<StepLease>(json!({ "lease": lease })).expect("a step's lease");
    serde_json::from_value::<StepLease>(json!({ "lease": null })).expect("a skipped step's");

    let run = serde_json::to_value(run()).expect("written");
    for field in ["inherited", "held"] {
        let mut without = run.clone();
        without.as_object_mut().expect("fields").remove(field);
        serde_json::from_value::<WorkflowRun>(without).map(drop).expect_err("it may be nested");
    }
    serde_json::from_value::<WorkflowRun>(run).expect("a run");
}

#[tokio::test(start_paused = true)]
async fn a_key_at_another_provider_is_another_key() {
    let store = |id: &str| FakeStore::with_id(ProviderId::new(id).expect("a valid id"));
    let (one, two) = (store("one"), store("two"));
    let module = |store: &FakeStore| LockingModule::with_provider(Arc::new(store.clone()));
    let held = step().invoke(&module(&one), &run()).await.expect("granted");
    let nested = run().nested([&held]);
    step().invoke(&module(&two), &nested).await.expect("granted, and never told");
    let lease = step().invoke(&module(&two), &nested).await.expect("entered again");
    assert!(lease.compensate(&module(&two)).await.expect("released"));
    assert!(one.is_held("a") && !two.is_held("a"));
}

#[tokio::test(start_paused = true)]
async fn a_replay_takes_all_of_its_keys_anew_where_some_are_gone() {
    let (store, module) = FakeStore::with_module();
    let both = AcquireLockStep::new(["a", "b"], seconds(30)).expect("valid");
    both.invoke(&module, &run()).await.expect("granted, and never told");
    store.forget("b");
    let lease = both.invoke(&module, &run()).await.expect("granted");
    assert_eq!(store.token("a"), lease.token_of("a"));
    assert_eq!(store.token("b"), lease.token_of("b"));
    assert!(lease.compensate(&module).await.expect("released"));
    assert!(!store.is_held("a") && !store.is_held("b"));
}

#[test]
fn inputs_are_read_as_the_builder_makes_them() {
    let read = |input| read(input).expect("a valid input");
    assert_eq!(read(json!({ "keys": ["a"], "ttl": 30 })), step());
    assert_eq!(read(json!({ "key": "a", "ttl": "30s" })), step());
    let all = json!({
        "keys": ["b", "a"], "ttl": "1m", "timeout": 2.5, "retry_interval": "50ms", "owner": "o",
        "provider": "lp_p", "execute_on_sub_workflow": false,
    });
    let built = AcquireLockStep::new(["a", "b"], seconds(60))
        .expect("valid")
        .with_timeout(Duration::from_millis(2500))
        .with_retry_interval(Duration::from_millis(50))
        .with_owner(OwnerId::new("o").expect("valid"))
        .with_provider("lp_p")
        .with_execute_on_sub_workflow(false);
    assert_eq!(read(all), built);
    assert_eq!(read(serde_json::to_value(&built).expect("written")), built);
    assert_eq!(read(serde_json::to_value(step()).expect("written")), step());
}

#[test]
fn a_wrong_input_is_refused_with_what_would_be_right() {
    let refused = |input| read(input).expect_err("a wrong input");
    let without_ttl = refused(json!({ "key": "a" }));
    assert!(without_ttl.contains("missing field `ttl`"), "{without_ttl}");
    let zero = refused(json!({ "key": "a", "ttl": 0 }));
    assert!(zero.contains("`ttl`") && zero.contains("more than zero"), "{zero}");
    let bare = refused(json!({ "key": "a", "ttl": 1, "retry_interval": 0.3 }));
    assert!(bare.contains("\"0.3s\" for seconds"), "{bare}");
    let no_pause = refused(json!({ "key": "a", "ttl": 1, "retry_interval": "0s" }));
    assert!(no_pause.contains("retry interval") && no_pause.contains("more than zero"));
    let none = refused(json!({ "keys": [], "ttl": 1 }));
    assert!(none.contains("at least one key"), "{none}");
    let twice = refused(json!({ "key": "a", "keys": ["b"], "ttl": 1 }));
    assert!(twice.contains("duplicate field"), "{twice}");
    let unknown = refused(json!({ "key": "a", "ttl": 1, "ownerId": "o" }));
    assert!(unknown.contains("unknown field `ownerId`") && unknown.contains("`owner`"));
    let run = serde_json::from_value::<WorkflowRun>(json!({ "id": "" })).map(drop);
    assert!(run.expect_err("no id").to_string().contains("1 to 1015 bytes"));
}

#[tokio::test(start_paused = true)]
async fn a_release_is_read_with_the_lease_that_was_written_down() {
    let (store, module) = FakeStore::with_module();
    let lease = step().invoke(&module, &run()).await.expect("granted");
    let release: ReleaseLockStep =
        serde_json::from_value(json!({ "lease": lease, "key": "a" })).expect("a valid input");
    let keys: KeySet = serde_json::from_value(json!("a")).expect("a key");
    assert_eq!(release, ReleaseLockStep::new(lease.clone()).with_keys(keys));
    assert!(release.execute_on_sub_workflow);
    assert!(release.invoke(&module, &run()).await.expect("released") && !store.is_held("a"));
}

#[tokio::test]
async fn a_lease_that_was_taken_without_a_step_can_be_told_of_and_given_back() {
    let (store, module) = FakeStore::with_module();
    let taken = module.acquire("a").owner(run().owner()).expire(Expiry::MAX).await;
    let lease = StepLease::from(taken.expect("granted"));
    let entered = step().invoke(&module, &run().holding(&lease)).await.expect("entered again");
    assert!(entered.compensate(&module).await.expect("nothing to do") && store.is_held("a"));
    assert!(lease.compensate(&module).await.expect("released") && !store.is_held("a"));
}
