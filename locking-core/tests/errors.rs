//! What an error says of its call.

mod support;

use std::time::Duration;

use locking_core::{Error, Lease, LeasedKey, LockKey, LockingModule, Result, Wait};
use support::fault::Fault;
use support::{FakeStore, seconds};

const KEYS: [&str; 2] = ["b", "a"];

/// Every call on keys fails the same way, and its error names them.
async fn named_everywhere(fault: Fault) {
    let (store, module) = FakeStore::with_module();
    let held = module.acquire(["a", "b"]).owner("me").await.expect("free");
    let guard = module.lock("c").await.expect("free");
    for calls in [&store.attempts, &store.extends, &store.releases, &store.questions] {
        calls.all(fault);
    }
    let errors = [
        failed(module.acquire(KEYS).await),
        failed(module.lock(KEYS).timeout(Wait::For(Duration::ZERO)).await),
        failed(module.execute(KEYS, |_| async {}).timeout(Wait::For(Duration::ZERO)).await),
        failed(module.release(KEYS).owner("me").await),
        failed(module.release_lease(&held).await),
        failed(module.extend(&held, seconds(60)).await),
    ];
    for error in &errors {
        assert_eq!(names(error), ["a", "b"], "{error:?}");
    }
    assert_eq!(names(&failed(module.inspect("a").await)), ["a"]);
    let partly = reentered(&held);
    assert_eq!(names(&failed(module.release_lease(&partly).await)), ["a"], "what is given back");
    assert_eq!(names(&failed(guard.release().await)), ["c"]);
}

fn failed<T>(answer: Result<T>) -> Error {
    answer.err().expect("the store was told to fail")
}

/// The same lease, of which all keys but the first were re-entered.
fn reentered(lease: &Lease) -> Lease {
    let keys = lease.keys().iter().enumerate();
    let keys = keys.map(|(at, leased)| match at {
        0 => leased.clone(),
        _ => LeasedKey::reentered(leased.key.clone(), leased.token),
    });
    Lease::new(lease.provider.clone(), lease.owner.clone(), keys)
}

fn names(error: &Error) -> Vec<&str> {
    assert_eq!(error.provider().expect("one was asked").as_str(), "fake");
    error.keys().iter().map(LockKey::as_str).collect()
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_store_names_the_provider_and_the_keys_of_its_call() {
    for fault in [Fault::Unavailable, Fault::Unknown, Fault::Full] {
        named_everywhere(fault).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_module_names_the_keys_that_it_was_asked_for() {
    let (_store, module) = FakeStore::with_module();
    module.close(Duration::ZERO).await.expect("closed");
    let refused = [
        failed(module.acquire(KEYS).wait(Wait::Unlimited).await),
        failed(module.lock(KEYS).await),
        failed(module.execute(KEYS, |_| async {}).await),
    ];
    for error in refused {
        assert!(matches!(error, Error::Closed { .. }), "{error:?}");
        assert_eq!(names(&error), ["a", "b"]);
    }
}

#[tokio::test]
async fn a_call_on_no_key_in_particular_names_none() {
    let (store, module) = FakeStore::with_module();
    store.questions.all(Fault::Unavailable);
    store.release_alls.all(Fault::Unavailable);
    assert!(names(&failed(module.list().await)).is_empty());
    assert!(names(&failed(module.release_all().await)).is_empty());
}

#[tokio::test]
async fn an_errors_text_names_a_few_keys_and_counts_the_others() {
    let text = async |keys: &[&str]| {
        let (store, module): (_, LockingModule) = FakeStore::with_module();
        store.attempts.all(Fault::Unavailable);
        failed(module.acquire(keys).await).to_string()
    };
    let begin = "locking provider `fake` is unavailable, asked for";
    assert_eq!(text(&["a"]).await, format!("{begin} key \"a\""));
    assert_eq!(text(&["c", "b", "a"]).await, format!("{begin} keys \"a\", \"b\", \"c\""));
    let many = ["e", "d", "c", "b", "a"];
    assert_eq!(text(&many).await, format!("{begin} keys \"a\", \"b\", \"c\" and 2 more"));
}

#[tokio::test]
async fn a_lease_without_keys_is_an_error_about_none() {
    let (store, module) = FakeStore::with_module();
    let held = module.acquire("a").await.expect("free");
    store.releases.all(Fault::Unavailable);
    let empty = Lease::new(held.provider, None, []);
    assert!(names(&failed(module.release_lease(&empty).await)).is_empty());
}
