//! Mistakes of the caller are found before the store is asked for anything.

mod support;

use std::time::Duration;

use locking_core::{Error, IntoKeys, InvalidInput, LockingModule, Result, TextFault, Wait};
use support::{FakeStore, seconds};

const NO_KEYS: [&str; 0] = [];
const TOO_LONG: Duration = Duration::from_secs(36_525 * 86_400 + 1);

fn invalid<T>(answer: Result<T>) -> InvalidInput {
    match answer {
        Err(Error::InvalidInput(input)) => input,
        Err(other) => panic!("expected invalid input, not {other:?}"),
        Ok(_) => panic!("expected invalid input"),
    }
}

fn fault(input: &InvalidInput) -> TextFault {
    match input {
        InvalidInput::Key { fault, .. } | InvalidInput::Owner { fault, .. } => *fault,
        other => panic!("expected a fault of a text, not {other:?}"),
    }
}

/// Every operation that takes keys refuses these, runs no job, and asks the store for nothing.
async fn refused_everywhere<const N: usize>(keys: [&str; N]) -> InvalidInput {
    let (store, module) = FakeStore::with_module();
    let mut ran = false;
    let answers = [
        invalid(module.acquire(keys).await),
        invalid(module.acquire(keys).owner("me").wait(Wait::Unlimited).await),
        invalid(module.lock(keys).await),
        invalid(module.execute(keys, |_| async { ran = true }).await),
        invalid(module.release(keys).await),
        invalid(module.release(keys).owner("me").await),
    ];
    assert!(!ran, "no job runs unlocked");
    assert_eq!(store.calls(), 0);
    let expected = keys.into_keys().expect_err("invalid");
    assert!(answers.iter().all(|answer| *answer == expected), "{answers:?}");
    expected
}

#[tokio::test]
async fn a_call_without_keys_is_refused() {
    assert_eq!(refused_everywhere(NO_KEYS).await, InvalidInput::NoKeys);
}

#[tokio::test]
async fn an_empty_key_is_refused() {
    assert_eq!(fault(&refused_everywhere([""]).await), TextFault::Empty);
}

#[tokio::test]
async fn a_key_with_a_nul_in_it_is_refused_also_among_others() {
    assert_eq!(fault(&refused_everywhere(["a\0b"]).await), TextFault::Nul);
    assert_eq!(fault(&refused_everywhere(["a", "\0", "b"]).await), TextFault::Nul);
}

#[tokio::test]
async fn a_key_of_more_than_1024_bytes_is_refused() {
    let bytes = 1025;
    let long = "k".repeat(bytes);
    let refused = fault(&refused_everywhere([long.as_str()]).await);
    assert!(matches!(refused, TextFault::TooLong { bytes: 1025, .. }), "{refused:?}");
    let (_store, module) = FakeStore::with_module();
    module.acquire(&long[..1024]).await.expect("the longest key");
}

#[tokio::test]
async fn an_invalid_key_can_not_be_inspected() {
    let (store, module) = FakeStore::with_module();
    assert_eq!(fault(&invalid(module.inspect("").await)), TextFault::Empty);
    assert_eq!(fault(&invalid(module.inspect("a\0b").await)), TextFault::Nul);
    assert_eq!(store.calls(), 0);
}

/// Every operation that takes an owner refuses this one.
async fn refused_owner(owner: &str) -> TextFault {
    let (store, module) = FakeStore::with_module();
    let answers = [
        invalid(module.acquire("a").owner(owner).await),
        invalid(module.release("a").owner(owner).await),
        invalid(module.release_all().owner(owner).await),
        invalid(module.release_all().owner(owner).including_running().await),
    ];
    assert_eq!(store.calls(), 0);
    assert!(answers.iter().all(|answer| matches!(answer, InvalidInput::Owner { .. })));
    fault(&answers[0])
}

#[tokio::test]
async fn the_owner_that_stands_for_everybody_is_refused() {
    assert_eq!(refused_owner("*").await, TextFault::Reserved);
}

#[tokio::test]
async fn an_owner_without_a_name_is_refused() {
    assert_eq!(refused_owner("").await, TextFault::Empty);
    assert_eq!(refused_owner("a\0b").await, TextFault::Nul);
    assert!(matches!(refused_owner(&"o".repeat(1025)).await, TextFault::TooLong { .. }));
}

#[tokio::test]
async fn an_expiry_of_zero_or_of_more_than_a_century_is_refused() {
    let (store, module) = FakeStore::with_module();
    let lease = module.acquire("held").await.expect("free");
    let asked = store.calls();
    for given in [Duration::ZERO, TOO_LONG, Duration::MAX] {
        let answers = [
            invalid(module.acquire("a").expire(given).await),
            invalid(module.extend(&lease, given).await),
            invalid(module.lock("a").lease(given).await),
        ];
        let refused = |input: &InvalidInput| matches!(input, InvalidInput::Expiry { given: named, .. } if *named == given);
        assert!(answers.iter().all(refused), "{answers:?}");
    }
    assert_eq!(store.calls(), asked);
}

#[tokio::test]
async fn a_wait_too_long_to_represent_is_refused() {
    let (store, module) = FakeStore::with_module();
    let mut ran = false;
    for given in [TOO_LONG, Duration::MAX] {
        let answers = [
            invalid(module.acquire("a").wait(given).await),
            invalid(module.lock("a").timeout(given).await),
            invalid(module.execute("a", |_| async { ran = true }).timeout(given).await),
        ];
        assert!(answers.iter().all(|input| *input == answers[0]), "{answers:?}");
        assert!(matches!(answers[0], InvalidInput::Wait { .. }), "{answers:?}");
    }
    assert!(!ran);
    assert_eq!(store.calls(), 0);
}

#[tokio::test]
async fn a_guard_lease_too_short_to_renew_is_refused() {
    let (store, module) = FakeStore::with_module();
    let mut ran = false;
    let short = Duration::from_millis(49);
    let answers = [
        invalid(module.lock("a").lease(short).await),
        invalid(module.execute("a", |_| async { ran = true }).lease(short).await),
    ];
    for answer in answers {
        assert!(matches!(answer, InvalidInput::GuardLease { .. }), "{answer:?}");
        assert!(answer.to_string().contains("at least 50ms"), "{answer}");
    }
    assert!(!ran);
    assert_eq!(store.calls(), 0);
    drop(module.lock("a").lease(Duration::from_millis(50)).await.expect("the shortest lease"));
}

#[tokio::test]
async fn the_longest_expiry_wait_and_lease_are_accepted() {
    let (_store, module) = FakeStore::with_module();
    let century = Wait::MAX;
    let lease = module.acquire("a").expire(century).wait(century).await.expect("free");
    module.extend(&lease, century).await.expect("held");
    let guard = module.lock("b").lease(century).timeout(century).await.expect("free");
    guard.check().expect("held");
    assert!(guard.expires_in() > seconds(86_400 * 36_000));
}

#[tokio::test]
async fn a_provider_that_is_not_configured_is_refused_everywhere() {
    let (store, module) = FakeStore::with_module();
    let other = LockingModule::with_provider(std::sync::Arc::new(FakeStore::with_id(
        locking_core::ProviderId::new("other").expect("a valid id"),
    )));
    let foreign = other.acquire("a").await.expect("free");
    let mut ran = false;
    let answers = [
        module.acquire("a").provider("nobody").await.map(drop),
        module.lock("a").provider("nobody").await.map(drop),
        module.execute("a", |_| async { ran = true }).provider("nobody").await,
        module.release("a").provider("nobody").await.map(drop),
        module.release_all().provider("nobody").await.map(drop),
        module.inspect("a").provider("nobody").await.map(drop),
        module.list().provider("nobody").await.map(drop),
        module.release_lease(&foreign).await.map(drop),
        module.extend(&foreign, seconds(1)).await,
    ];
    for answer in answers {
        let error = answer.expect_err("not configured");
        assert!(matches!(error, Error::Configuration(_)), "{error:?}");
    }
    assert!(!ran);
    assert_eq!(store.calls(), 0);
}
