//! What operations tell whoever listens.

mod support;

use std::sync::Arc;
use std::time::Duration;

use locking_core::{
    LockingConfig, LockingModule, LockingProvider, ProviderConfig, ProviderRegistration,
};
use support::capture::{Capture, Entry};
use support::fault::Fault;
use support::{FakeStore, seconds};
use tracing::Level;

/// The only span of this name.
fn span(capture: &Capture, name: &str) -> Entry {
    let mut spans = capture.spans(name);
    assert_eq!(spans.len(), 1, "spans {name}: {}", capture.everything());
    spans.remove(0)
}

fn assert_told(span: &Entry, keys: &str, owner: &str, outcome: &str) {
    assert_eq!(span.field("provider"), "fake");
    assert!(span.field("keys").contains(keys), "{span:?}");
    assert_eq!(span.field("owner"), owner);
    assert_eq!(span.field("outcome"), outcome);
}

#[tokio::test(start_paused = true)]
async fn an_acquisition_tells_provider_keys_owner_and_outcome() {
    let (_store, module) = FakeStore::with_module();
    let capture = Capture::start();
    module.acquire(["b", "a"]).owner("me").await.expect("free");
    let span = span(&capture, "locking.acquire");
    assert_told(&span, r#"["a", "b"]"#, "me", "granted");
    assert_eq!(span.field("kind"), "Lease");
}

#[tokio::test(start_paused = true)]
async fn an_anonymous_acquisition_tells_no_owner() {
    let (_store, module) = FakeStore::with_module();
    let capture = Capture::start();
    module.acquire("a").await.expect("free");
    assert_told(&span(&capture, "locking.acquire"), "\"a\"", "", "granted");
}

#[tokio::test(start_paused = true)]
async fn a_refused_acquisition_tells_why_and_how_long_it_waited() {
    let (store, module) = FakeStore::with_module();
    let _held = module.acquire("a").await.expect("free");
    store.attempts.next(1, Fault::Unavailable);
    let capture = Capture::start();
    module.acquire("a").owner("one").await.expect_err("no store");
    module.acquire("a").owner("two").await.expect_err("held");
    module.acquire("a").owner("three").wait(seconds(2)).await.expect_err("held");
    module.close(seconds(1)).await.expect("closed");
    let spans = capture.spans("locking.acquire");
    assert_eq!(spans.len(), 3);
    assert_told(&spans[0], "\"a\"", "one", "unavailable");
    assert_told(&spans[1], "\"a\"", "two", "held");
    assert_told(&spans[2], "\"a\"", "three", "timed out");
    assert!(spans[2].field("waited").starts_with('2'), "{:?}", spans[2]);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_woken_by_a_close_tells_so() {
    let (_store, module) = FakeStore::with_module();
    let _held = module.acquire("a").await.expect("free");
    let capture = Capture::start();
    let waiting = module.acquire("a").owner("me").wait(seconds(60));
    let (answer, closed) = tokio::join!(async { waiting.await }, module.close(seconds(1)));
    answer.expect_err("closed");
    closed.expect("closed");
    assert_told(&span(&capture, "locking.acquire"), "\"a\"", "me", "closed");
}

#[tokio::test(start_paused = true)]
async fn a_guard_and_a_job_tell_that_they_acquire_as_a_guard() {
    let (_store, module) = FakeStore::with_module();
    let capture = Capture::start();
    let guard = module.lock("a").await.expect("free");
    module.execute("b", |_| async {}).await.expect("it ran");
    let spans = capture.spans("locking.acquire");
    assert_eq!(spans.len(), 2);
    let owner = guard.lease().owner.clone().expect("guards have an owner");
    assert_told(&spans[0], "\"a\"", owner.as_str(), "granted");
    assert!(spans.iter().all(|span| span.field("kind") == "Guard"));
}

#[tokio::test(start_paused = true)]
async fn a_release_tells_provider_keys_owner_and_outcome() {
    let (_store, module) = FakeStore::with_module();
    let capture = Capture::start();
    module.release(["a", "b"]).owner("me").await.expect("it answers");
    module.acquire(["a", "b"]).owner("me").await.expect("free");
    module.release(["a", "b"]).owner("me").await.expect("it answers");
    let spans = capture.spans("locking.release");
    assert_told(&spans[0], r#"["a", "b"]"#, "me", "not held");
    assert_told(&spans[1], r#"["a", "b"]"#, "me", "done");
}

#[tokio::test(start_paused = true)]
async fn the_release_and_the_extension_of_a_lease_tell_their_keys_and_outcome() {
    let (store, module) = FakeStore::with_module();
    let lease = module.acquire("a").owner("me").await.expect("free");
    let capture = Capture::start();
    module.extend(&lease, seconds(60)).await.expect("held");
    assert_told(&span(&capture, "locking.extend"), "\"a\"", "me", "done");
    store.forget("a");
    module.extend(&lease, seconds(60)).await.expect_err("lost");
    assert_told(&capture.spans("locking.extend")[1], "\"a\"", "me", "lost");
    store.releases.next(1, Fault::Unavailable);
    module.release_lease(&lease).await.expect_err("no store");
    assert_told(&span(&capture, "locking.release_lease"), "\"a\"", "me", "unavailable");
}

#[tokio::test(start_paused = true)]
async fn a_release_of_everything_tells_whose() {
    let (_store, module) = FakeStore::with_module();
    let capture = Capture::start();
    module.release_all().owner("me").including_running().await.expect("it answers");
    let span = span(&capture, "locking.release_all");
    assert_told(&span, "", "me", "done");
    assert_eq!(span.field("including_running"), "true");
}

#[tokio::test(start_paused = true)]
async fn questions_tell_that_they_are_not_supported() {
    let (_store, module) = FakeStore::with_module();
    let capture = Capture::start();
    module.inspect("a").await.expect_err("the fake can't");
    module.list().await.expect_err("the fake can't");
    assert_told(&span(&capture, "locking.inspect"), "\"a\"", "", "unsupported");
    assert_told(&span(&capture, "locking.list"), "", "", "unsupported");
}

#[tokio::test(start_paused = true)]
async fn a_migration_and_a_close_tell_what_came_of_them() {
    let (_store, module) = FakeStore::with_module();
    let capture = Capture::start();
    module.migrate().await.expect("nothing to do");
    assert_told(&span(&capture, "locking.migrate"), "", "", "done");
    let _guard = module.lock("a").await.expect("free");
    assert_eq!(module.close(Duration::ZERO).await.expect("closed"), 1);
    let closing = span(&capture, "locking.close");
    assert_eq!((closing.field("broken"), closing.field("outcome")), ("1", "done"));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_before_anything_is_asked_tells_why() {
    let (_store, module) = FakeStore::with_module();
    let lease = module.acquire("a").await.expect("free");
    let capture = Capture::start();
    module.acquire("").await.expect_err("no key");
    module.release("b").owner("*").await.expect_err("no owner");
    module.release_all().provider("else").await.expect_err("not configured");
    module.extend(&lease, Duration::ZERO).await.expect_err("no time");
    module.inspect("").await.expect_err("no key");
    module.lock("").await.expect_err("no key");
    module.execute("", |_| async {}).await.expect_err("no key");
    module.close(seconds(1)).await.expect("closed");
    module.acquire("a").await.expect_err("closed");
    let events = capture.events(Level::DEBUG, "refused");
    let told: Vec<_> =
        events.iter().map(|event| (event.field("operation"), event.field("outcome"))).collect();
    let expected = [
        ("acquire", "invalid input"),
        ("release", "invalid input"),
        ("release_all", "configuration"),
        ("extend", "invalid input"),
        ("inspect", "invalid input"),
        ("lock", "invalid input"),
        ("execute", "invalid input"),
        ("acquire", "closed"),
    ];
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn no_option_is_told_to_anybody() {
    let fake = ProviderRegistration::new("fake", |id, options| {
        Box::pin(async move {
            let _: serde_json::Value = options.parse()?;
            Ok(Arc::new(FakeStore::with_id(id)) as Arc<dyn LockingProvider>)
        })
    });
    let capture = Capture::start();
    let entry = ProviderConfig::new("fake").with_option("url", "redis://:hunter2@host");
    let config = LockingConfig::new().with_provider(entry);
    let module = LockingModule::builder(config).register(fake).build().await.expect("built");
    module.acquire("a").expire(seconds(1)).await.expect("free");
    module.execute("b", |_| async {}).await.expect("it ran");
    module.acquire("a").await.expect_err("held");
    module.close(seconds(1)).await.expect("closed");
    let told = capture.everything();
    assert!(told.contains("locking.acquire") && !told.contains("hunter2"), "{told}");
    assert!(!format!("{module:?}").contains("hunter2"));
}
