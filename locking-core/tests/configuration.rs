//! Which providers a module has, which is the default, and how calls name them.

mod support;

use locking_core::{
    ConfigurationError, LockingConfig, LockingModule, ProviderConfig, ProviderRegistration,
};
use support::capture::Capture;
use support::registered::{MEMORY, REDIS, built, ids, mistake, start, start_with};
use tracing::Level;

fn memory() -> ProviderConfig {
    ProviderConfig::new("locking-memory")
}

fn redis() -> ProviderConfig {
    ProviderConfig::new("locking-redis")
}

/// The provider that a call uses which names none.
async fn default_of(module: &LockingModule) -> String {
    let lease = module.acquire("a").await.expect("the store is empty");
    lease.provider.to_string()
}

#[tokio::test]
async fn without_entries_memory_is_the_default() {
    let module = start([]).await.expect("valid");
    assert_eq!(ids(&module), ["locking-memory"]);
    assert_eq!(default_of(&module).await, "locking-memory");
}

#[tokio::test]
async fn the_only_entry_is_the_default_and_memory_is_not_needed() {
    let module = start_with([REDIS], [redis()]).await.expect("valid");
    assert_eq!(ids(&module), ["locking-redis"]);
    assert_eq!(default_of(&module).await, "locking-redis");
}

#[tokio::test]
async fn the_flagged_entry_of_several_is_the_default() {
    let entries = [redis().with_id("one"), redis().with_id("two").as_default(), memory()];
    let module = start(entries).await.expect("valid");
    assert_eq!(default_of(&module).await, "two");
    assert_eq!(ids(&module)[0], "two");
    assert_eq!(module.providers().len(), 3);
}

#[tokio::test]
async fn several_entries_without_a_flag_leave_it_to_memory_with_a_warning_that_names_them() {
    let capture = Capture::start();
    let entries = [redis().with_id("one"), redis().with_id("two")];
    let module = start(entries).await.expect("valid");
    assert_eq!(default_of(&module).await, "locking-memory");
    assert_eq!(module.providers().len(), 3, "the ignored ones can be named");
    let warnings = capture.events(Level::WARN, "none has `is_default`");
    assert_eq!(warnings.len(), 1, "{}", capture.everything());
    assert_eq!(warnings[0].field("ignored"), r#"["one", "two"]"#);
    assert_eq!(warnings[0].field("default"), "locking-memory");
}

#[tokio::test]
async fn a_memory_entry_among_several_without_a_flag_is_the_default_and_not_ignored() {
    let capture = Capture::start();
    let module = start([redis(), memory().with_id("carts")]).await.expect("valid");
    assert_eq!(default_of(&module).await, "carts");
    assert_eq!(module.providers().len(), 2, "no second memory provider is made up");
    let warnings = capture.events(Level::WARN, "");
    assert_eq!(warnings[0].field("ignored"), r#"["locking-redis"]"#);
}

#[tokio::test]
async fn several_flagged_entries_are_refused_with_their_ids() {
    let entries = [redis().with_id("one").as_default(), memory().as_default()];
    let mistake = mistake(start(entries).await);
    assert!(matches!(mistake, ConfigurationError::SeveralDefaults { .. }), "{mistake:?}");
    let text = mistake.to_string();
    assert!(text.contains("`one`") && text.contains("`locking-memory`"), "{text}");
    assert!(built().is_empty(), "nothing is built from a wrong configuration");
}

#[tokio::test]
async fn memory_that_is_needed_and_not_linked_is_refused_with_what_to_do() {
    let two = [redis().with_id("one"), redis().with_id("two")];
    for entries in [Vec::new(), Vec::from(two)] {
        let mistake = mistake(start_with([REDIS], entries).await);
        assert_eq!(mistake, ConfigurationError::MemoryNotLinked);
        assert!(mistake.to_string().contains("feature `memory`"), "{mistake}");
    }
    assert!(built().is_empty());
}

#[tokio::test]
async fn the_default_is_logged_exactly_once() {
    let flagged = [redis().with_id("main").as_default(), memory()];
    for (entries, default) in [
        (Vec::new(), "locking-memory"),
        (vec![redis()], "locking-redis"),
        (Vec::from(flagged), "main"),
    ] {
        let capture = Capture::start();
        start(entries).await.expect("valid");
        let told = capture.events(Level::INFO, "default locking provider");
        assert_eq!(told.len(), 1, "{}", capture.everything());
        assert_eq!(told[0].field("default"), default);
        assert!(capture.events(Level::WARN, "").is_empty());
    }
}

#[tokio::test]
async fn two_entries_with_one_id_are_refused() {
    let named = [redis().with_id("one"), memory().with_id("one")];
    let unnamed = [redis().as_default(), redis()];
    for (entries, id) in [(named, "`one`"), (unnamed, "`locking-redis`")] {
        let mistake = mistake(start(entries).await);
        assert!(matches!(mistake, ConfigurationError::DuplicateId { .. }), "{mistake:?}");
        assert!(mistake.to_string().contains(id), "{mistake}");
    }
}

#[tokio::test]
async fn an_id_that_starts_with_lp_is_refused() {
    for id in ["lp_x", "lp_", ""] {
        let mistake = mistake(start([redis().with_id(id)]).await);
        assert!(matches!(mistake, ConfigurationError::ReservedId { .. }), "{mistake:?}");
        assert!(mistake.to_string().contains("`lp_`"), "{mistake}");
    }
}

#[tokio::test]
async fn an_id_that_is_what_another_entry_resolves_to_is_refused() {
    let entries = [redis().with_id("locking-memory").as_default(), memory().with_id("carts")];
    let mistake = mistake(start(entries).await);
    assert!(matches!(mistake, ConfigurationError::IdIsIdentifier { .. }), "{mistake:?}");
    assert!(mistake.to_string().contains("`locking-memory`"), "{mistake}");
}

#[tokio::test]
async fn an_entry_named_as_memory_is_never_taken_for_it() {
    let entries = [redis().with_id("locking-memory"), redis().with_id("two")];
    let mistake = mistake(start(entries).await);
    assert!(matches!(mistake, ConfigurationError::IdIsIdentifier { .. }), "{mistake:?}");
}

#[tokio::test]
async fn an_unknown_identifier_lists_what_is_linked() {
    let mistake = mistake(start([ProviderConfig::new("locking-etcd")]).await);
    let text = mistake.to_string();
    assert!(text.contains("`locking-etcd`"), "{text}");
    assert!(text.contains("`locking-memory`, `locking-redis`"), "{text}");
    assert!(!text.contains("feature"), "nobody knows a feature for it: {text}");
}

#[tokio::test]
async fn an_unknown_identifier_of_this_project_names_its_cargo_feature() {
    let mistake = mistake(start_with([REDIS], [memory()]).await);
    let text = mistake.to_string();
    assert!(matches!(mistake, ConfigurationError::UnknownIdentifier { .. }), "{mistake:?}");
    assert!(text.contains("feature `memory`") && text.contains("`locking-redis`"), "{text}");
}

#[tokio::test]
async fn each_feature_is_named_for_its_provider() {
    for feature in ["postgres", "redis"] {
        let entry = ProviderConfig::new(format!("locking-{feature}"));
        let text = mistake(start_with([MEMORY], [entry]).await).to_string();
        assert!(text.contains(&format!("feature `{feature}`")), "{text}");
    }
}

#[tokio::test]
async fn an_identifier_registered_twice_by_hand_is_refused() {
    let mistake = mistake(start_with([REDIS, REDIS], [redis()]).await);
    assert!(matches!(mistake, ConfigurationError::DuplicateRegistration { .. }), "{mistake:?}");
}

#[tokio::test]
async fn a_provider_is_named_by_its_id_with_or_without_the_prefix() {
    let entries = [memory().as_default(), redis().with_id("one"), redis().with_id("two")];
    let module = start(entries).await.expect("valid");
    for name in ["one", "lp_one"] {
        let lease = module.acquire(name).provider(name).await.expect("free");
        assert_eq!(lease.provider.as_str(), "one");
    }
}

#[tokio::test]
async fn a_provider_is_named_by_its_identifier_when_that_is_configured_once() {
    let module = start([memory().as_default(), redis().with_id("one")]).await.expect("valid");
    for name in ["locking-redis", "lp_locking-redis"] {
        let lease = module.acquire(name).provider(name).await.expect("free");
        assert_eq!(lease.provider.as_str(), "one");
    }
}

#[tokio::test]
async fn an_identifier_configured_twice_names_nobody_and_the_error_lists_the_ids() {
    let entries = [memory().as_default(), redis().with_id("one"), redis().with_id("two")];
    let module = start(entries).await.expect("valid");
    let mistake = mistake(module.acquire("a").provider("locking-redis").await);
    assert!(matches!(mistake, ConfigurationError::UnknownProvider { .. }), "{mistake:?}");
    let text = mistake.to_string();
    for name in ["`locking-redis`", "`locking-memory`", "`one`", "`two`"] {
        assert!(text.contains(name), "{text}");
    }
}

#[tokio::test]
async fn an_entry_without_an_id_is_found_among_others_of_its_identifier() {
    let entries = [memory().as_default(), redis(), redis().with_id("two")];
    let module = start(entries).await.expect("valid");
    let lease = module.acquire("a").provider("locking-redis").await.expect("free");
    assert_eq!(lease.provider.as_str(), "locking-redis");
}

#[tokio::test]
async fn a_provider_that_can_not_start_stops_the_module_with_its_error() {
    let broken = ProviderRegistration::new("broken", |id, _| {
        Box::pin(async move { Err(locking_core::Error::unavailable(&id, "no store")) })
    });
    let config = LockingConfig::new().with_provider(ProviderConfig::new("broken"));
    let answer = LockingModule::builder(config).register(broken).build().await;
    let error = answer.expect_err("it can't reach its store");
    assert!(matches!(error, locking_core::Error::Unavailable { .. }), "{error:?}");
    assert_eq!(error.provider().expect("a provider").as_str(), "broken");
}

#[tokio::test]
async fn memory_registered_by_hand_is_used_like_a_linked_one() {
    let module = start_with([MEMORY], []).await.expect("valid");
    assert_eq!(built().len(), 1);
    assert_eq!(default_of(&module).await, "locking-memory");
}
