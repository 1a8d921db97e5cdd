//! Locks in the steps of workflows: replayed, nested, compensated.
#![cfg(feature = "memory")]

use std::sync::Arc;
use std::time::Duration;

use locking::providers::memory::MemoryProvider;
use locking::workflow::{AcquireLockStep, ReleaseLockStep, StepLease, WorkflowRun};
use locking::{Error, IntoKeys, LockingConfig, LockingModule, OwnerId, ProviderConfig};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

const TTL: Duration = Duration::from_secs(30);

fn module() -> LockingModule {
    LockingModule::with_provider(Arc::new(MemoryProvider::new()))
}

fn run(id: &str) -> WorkflowRun {
    WorkflowRun::new(id).expect("a valid id")
}

fn acquire(keys: impl IntoKeys) -> AcquireLockStep {
    AcquireLockStep::new(keys, TTL).expect("valid keys")
}

async fn take(module: &LockingModule, keys: impl IntoKeys, run: &WorkflowRun) -> StepLease {
    acquire(keys).invoke(module, run).await.expect("nobody else holds the keys")
}

async fn give_back(module: &LockingModule, lease: &StepLease, run: &WorkflowRun) -> bool {
    ReleaseLockStep::new(lease.clone()).invoke(module, run).await.expect("the store answers")
}

async fn compensate(module: &LockingModule, lease: &StepLease) -> bool {
    lease.compensate(module).await.expect("the store answers")
}

/// Whose a key is.
async fn holder(module: &LockingModule, key: &str) -> Option<OwnerId> {
    module.inspect(key).await.expect("the store answers")?.owner
}

async fn is_free(module: &LockingModule, key: &str) -> bool {
    module.inspect(key).await.expect("the store answers").is_none()
}

/// The same value in another process.
fn sent<T: serde::Serialize + DeserializeOwned>(value: &T) -> T {
    let text = serde_json::to_string(value).expect("plain data");
    serde_json::from_str(&text).expect("the same data")
}

#[tokio::test(start_paused = true)]
async fn a_key_is_the_runs_from_the_acquire_step_to_the_release_step() {
    let (module, run) = (module(), run("r1"));
    let lease = take(&module, "a", &run).await;
    assert_eq!(holder(&module, "a").await.as_ref(), Some(run.owner()));
    assert!(give_back(&module, &lease, &run).await);
    assert!(is_free(&module, "a").await);
}

#[tokio::test(start_paused = true)]
async fn runs_exclude_each_other() {
    let (module, one, two) = (module(), run("r1"), run("r2"));
    let lease = take(&module, "a", &one).await;
    let refused = acquire("a").invoke(&module, &two).await;
    assert!(matches!(refused, Err(Error::Held { .. })), "{refused:?}");
    let waiting = acquire("a").with_timeout(Duration::from_secs(1));
    let late = waiting.invoke(&module, &two).await;
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");

    let (next, released) =
        tokio::join!(waiting.invoke(&module, &two), give_back(&module, &lease, &one));
    assert!(released && next.is_ok());
    assert_eq!(holder(&module, "a").await.as_ref(), Some(two.owner()));
}

#[tokio::test(start_paused = true)]
async fn compensation_gives_back_what_the_step_took_and_does_nothing_more_when_replayed() {
    let (module, one, two) = (module(), run("r1"), run("r2"));
    let lease = take(&module, ["a", "b"], &one).await;
    assert!(compensate(&module, &lease).await);
    assert!(is_free(&module, "a").await && is_free(&module, "b").await);

    take(&module, "a", &two).await;
    assert!(!compensate(&module, &lease).await);
    assert_eq!(holder(&module, "a").await.as_ref(), Some(two.owner()));
}

#[tokio::test(start_paused = true)]
async fn what_expired_between_the_steps_is_not_freed_for_its_next_holder() {
    let (module, one, two) = (module(), run("r1"), run("r2"));
    let lease = take(&module, "a", &one).await;
    sleep(TTL).await;
    take(&module, "a", &two).await;
    assert!(!give_back(&module, &lease, &one).await);
    assert!(!compensate(&module, &lease).await);
    assert_eq!(holder(&module, "a").await.as_ref(), Some(two.owner()));
}

#[tokio::test(start_paused = true)]
async fn the_same_run_holding_the_key_again_is_not_freed_by_its_former_lease() {
    let (module, run) = (module(), run("r1"));
    let former = take(&module, "a", &run).await;
    sleep(TTL).await;
    let lease = take(&module, "a", &run).await;
    assert!(!compensate(&module, &former).await);
    assert_eq!(holder(&module, "a").await.as_ref(), Some(run.owner()));
    assert!(compensate(&module, &lease).await);
}

#[tokio::test(start_paused = true)]
async fn what_was_freed_by_force_is_not_freed_for_its_next_holder() {
    let (module, one, two) = (module(), run("r1"), run("r2"));
    let lease = take(&module, ["a", "b"], &one).await;
    assert_eq!(module.release_all().owner(one.owner()).await.expect("freed"), 2);
    take(&module, "a", &two).await;
    assert!(!compensate(&module, &lease).await);
    assert_eq!(holder(&module, "a").await.as_ref(), Some(two.owner()));
}

#[tokio::test(start_paused = true)]
async fn a_replay_takes_anew_what_was_taken_before_the_answer_was_written_down() {
    let (module, run) = (module(), run("r1"));
    let lost = take(&module, ["a", "b"], &run).await; // and the process died
    let begun = Instant::now();
    let lease = take(&module, ["a", "b"], &sent(&run)).await;
    assert_eq!(begun.elapsed(), Duration::ZERO, "it doesn't wait for itself");
    assert!(lease.token_of("a") > lost.token_of("a"), "nobody has anything of the earlier attempt");
    assert!(!compensate(&module, &lost).await, "however late that is taken back");
    assert_eq!(holder(&module, "a").await.as_ref(), Some(run.owner()));
    assert!(compensate(&module, &lease).await);
    assert!(is_free(&module, "a").await && is_free(&module, "b").await);
}

#[tokio::test(start_paused = true)]
async fn a_replay_after_the_expiry_takes_the_keys_anew() {
    let (module, run) = (module(), run("r1"));
    let lost = take(&module, "a", &run).await;
    sleep(TTL).await;
    let lease = take(&module, "a", &run).await;
    assert!(lease.token_of("a") > lost.token_of("a"));
    assert!(give_back(&module, &lease, &run).await);
}

#[tokio::test(start_paused = true)]
async fn an_invocation_that_is_dropped_while_it_waits_takes_nothing() {
    let (module, one, two) = (module(), run("r1"), run("r2"));
    let lease = take(&module, "b", &one).await;
    let both = acquire(["a", "b"]).with_timeout(TTL);
    let dropped = timeout(Duration::from_secs(1), both.invoke(&module, &two)).await;
    dropped.expect_err("it waits for longer");
    assert!(give_back(&module, &lease, &one).await);
    assert!(is_free(&module, "a").await && is_free(&module, "b").await);
}

#[tokio::test(start_paused = true)]
async fn a_nested_workflow_enters_its_parents_key_and_leaves_it_to_the_parent() {
    let (module, parent) = (module(), run("r1"));
    let held = take(&module, "a", &parent).await;
    let nested = parent.nested([&held]);

    let begun = Instant::now();
    let lease = take(&module, "a", &nested).await;
    assert_eq!(begun.elapsed(), Duration::ZERO, "there is nothing to wait for");
    assert_eq!(lease.token_of("a"), held.token_of("a"));
    assert!(give_back(&module, &lease, &nested).await);
    assert!(compensate(&module, &lease).await);
    assert_eq!(holder(&module, "a").await.as_ref(), Some(parent.owner()));
    assert!(give_back(&module, &held, &parent).await);
}

#[tokio::test(start_paused = true)]
async fn a_nested_workflow_gives_back_the_keys_that_it_took_besides_its_parents() {
    let (module, parent) = (module(), run("r1"));
    let held = take(&module, "a", &parent).await;
    let nested = sent(&parent.nested([&held]));
    for replayed in [false, true] {
        let mut lease = take(&module, ["a", "b"], &nested).await;
        if replayed {
            lease = take(&module, ["a", "b"], &nested).await;
        }
        assert!(compensate(&module, &lease).await);
        assert!(is_free(&module, "b").await && !is_free(&module, "a").await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_workflow_nested_in_a_nested_one_leaves_to_each_of_them_its_own() {
    let (module, outer) = (module(), run("r1"));
    let a = take(&module, "a", &outer).await;
    let middle = outer.nested([&a]);
    let b = take(&module, ["a", "b"], &middle).await;
    let inner = middle.nested([&b]);
    let c = take(&module, ["a", "b", "c"], &inner).await;

    assert!(give_back(&module, &c, &inner).await);
    assert!(is_free(&module, "c").await && !is_free(&module, "b").await);
    assert!(give_back(&module, &b, &middle).await);
    assert!(is_free(&module, "b").await && !is_free(&module, "a").await);
    assert!(give_back(&module, &a, &outer).await);
    assert!(is_free(&module, "a").await);
}

#[tokio::test(start_paused = true)]
async fn the_outermost_workflows_keys_stay_its_own_where_those_between_hold_nothing() {
    let (module, outer) = (module(), run("r1"));
    let held = take(&module, "a", &outer).await;
    let inner = outer.nested([&held]).nested([]);
    let lease = take(&module, "a", &inner).await;
    assert!(give_back(&module, &lease, &inner).await);
    assert!(!is_free(&module, "a").await);
}

#[tokio::test(start_paused = true)]
async fn what_a_nested_workflow_takes_after_its_parents_lease_expired_is_its_own() {
    let (module, parent) = (module(), run("r1"));
    let held = take(&module, "a", &parent).await;
    let nested = parent.nested([&held]);
    sleep(TTL).await;
    let lease = take(&module, "a", &nested).await;

    assert!(!give_back(&module, &held, &parent).await);
    assert_eq!(holder(&module, "a").await.as_ref(), Some(parent.owner()), "the nested one's");
    assert!(compensate(&module, &lease).await);
}

#[tokio::test(start_paused = true)]
async fn a_nested_workflow_with_a_longer_ttl_extends_its_parents_key() {
    let (module, parent) = (module(), run("r1"));
    let held = take(&module, "a", &parent).await;
    let longer = AcquireLockStep::new("a", TTL * 3).expect("valid");
    longer.invoke(&module, &parent.nested([&held])).await.expect("entered again");
    sleep(TTL * 2).await;
    assert!(give_back(&module, &held, &parent).await);
}

#[tokio::test(start_paused = true)]
async fn a_nested_workflow_that_releases_its_parents_lease_leaves_it_to_the_parent() {
    let (module, parent) = (module(), run("r1"));
    let held = take(&module, "a", &parent).await;
    assert!(give_back(&module, &held, &parent.nested([&held])).await);
    assert!(give_back(&module, &held, &parent.nested([]).nested([&held])).await);
    assert!(!is_free(&module, "a").await);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_not_for_nested_workflows_does_nothing_there() {
    let (module, parent) = (module(), run("r1"));
    let step = acquire("a").with_execute_on_sub_workflow(false);
    let skipped = step.invoke(&module, &parent.nested([])).await.expect("skipped");
    assert!(skipped.lease().is_none() && skipped.token_of("a").is_none());
    assert!(is_free(&module, "a").await);
    assert!(compensate(&module, &sent(&skipped)).await);
    assert!(give_back(&module, &skipped, &parent).await);

    let lease = step.invoke(&module, &parent).await.expect("granted");
    let release = ReleaseLockStep::new(lease).with_execute_on_sub_workflow(false);
    assert!(release.invoke(&module, &parent.nested([])).await.expect("skipped"));
    assert!(!is_free(&module, "a").await);
    assert!(release.invoke(&module, &parent).await.expect("released"));
}

#[tokio::test(start_paused = true)]
async fn a_later_step_leaves_to_an_earlier_one_what_it_is_told_of() {
    let (module, run) = (module(), run("r1"));
    let first = take(&module, "a", &run).await;
    let later = sent(&run.holding(&first));
    let second = take(&module, ["a", "b"], &later).await;
    assert!(compensate(&module, &second).await);
    assert!(is_free(&module, "b").await && !is_free(&module, "a").await);
    assert!(give_back(&module, &first, &later).await, "a run gives back its own");
    assert!(is_free(&module, "a").await);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_step_holds_is_left_to_it_by_nested_workflows_too() {
    let (module, run) = (module(), run("r1"));
    let first = take(&module, "a", &run).await;
    let nested = run.holding(&first).nested([]);
    let lease = take(&module, "a", &nested).await;
    assert!(compensate(&module, &lease).await);
    assert!(!is_free(&module, "a").await);
}

#[tokio::test(start_paused = true)]
async fn of_an_owner_that_runs_share_a_step_gives_back_only_what_it_took() {
    let (module, one, two) = (module(), run("r1"), run("r2"));
    let customer = OwnerId::new("customer_1").expect("valid");
    let step = |keys: &[&str]| acquire(keys).with_owner(customer.clone());
    let first = step(&["a"]).invoke(&module, &one).await.expect("granted");
    let second = step(&["a", "b"]).invoke(&module, &two).await.expect("entered again");

    assert!(compensate(&module, &second).await);
    assert_eq!(holder(&module, "a").await, Some(customer), "the first run's");
    assert!(is_free(&module, "b").await);
    assert!(compensate(&module, &first).await);
}

#[tokio::test(start_paused = true)]
async fn a_lease_goes_back_to_the_provider_that_gave_it() {
    let memory = |id: &str| ProviderConfig::new("locking-memory").with_id(id);
    let config = LockingConfig::new().with_provider(memory("orders").as_default());
    let config = config.with_provider(memory("stock"));
    let module = LockingModule::new(config).await.expect("valid");
    let parent = run("r1");

    // The same key at both: two locks.
    let order = take(&module, "a", &parent).await;
    let nested = parent.nested([&order]);
    let stock = acquire("a").with_provider("lp_stock").invoke(&module, &nested).await;
    let stock = stock.expect("free there");
    assert_eq!(stock.lease().map(|lease| lease.provider.as_str()), Some("stock"));

    assert!(give_back(&module, &sent(&stock), &nested).await);
    let there = module.inspect("a").provider("stock").await.expect("the store answers");
    assert!(there.is_none() && !is_free(&module, "a").await);
}

#[tokio::test(start_paused = true)]
async fn a_lease_and_a_run_that_were_written_down_are_good_in_another_process() {
    let provider = MemoryProvider::new();
    let another = LockingModule::with_provider(Arc::new(provider.another_client()));
    let module = LockingModule::with_provider(Arc::new(provider));
    let run = run("r1");
    let lease = take(&module, ["a", "b"], &run).await;

    let (run, lease) = (sent(&run), sent(&lease));
    let (held, more) = (lease.lease().expect("granted"), TTL * 2);
    another.extend(held, more).await.expect("still held");
    sleep(TTL).await;
    assert_eq!(take(&another, "a", &run.holding(&lease)).await.token_of("a"), lease.token_of("a"));
    assert!(give_back(&another, &lease, &run).await);
    assert!(is_free(&module, "a").await);
}

#[tokio::test(start_paused = true)]
async fn some_of_the_keys_can_be_given_back_before_the_others() {
    let (module, run) = (module(), run("r1"));
    let lease = take(&module, ["a", "b"], &run).await;
    let release = |key: &str| {
        let keys = key.into_keys().expect("a valid key");
        ReleaseLockStep::new(lease.clone()).with_keys(keys)
    };
    assert!(release("a").invoke(&module, &run).await.expect("answered"));
    assert!(is_free(&module, "a").await && !is_free(&module, "b").await);
    assert!(!release("c").invoke(&module, &run).await.expect("answered"), "not of the lease");
    assert!(!give_back(&module, &lease, &run).await, "not all of it was still held");
    assert!(is_free(&module, "b").await);
}
