//! Providers that the application made itself, next to configured ones.

mod support;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use locking_core::{
    ConfigurationError, Error, LockingModule, LockingModuleBuilder, LockingProvider,
    ProviderConfig, ProviderId, ProviderRegistration,
};
use support::FakeStore;
use support::capture::Capture;
use support::registered::{MEMORY, REDIS, builder, built, ids, mistake};
use tokio::time::timeout;
use tracing::Level;

thread_local! {
    /// What [`KEPT`] built on this thread.
    static KEEP: RefCell<Vec<FakeStore>> = const { RefCell::new(Vec::new()) };
}

/// A provider that the test can look at afterwards.
const KEPT: ProviderRegistration = ProviderRegistration::new("kept", |id, _| {
    Box::pin(async move {
        let store = FakeStore::with_id(id);
        KEEP.with_borrow_mut(|keep| keep.push(store.clone()));
        Ok(Arc::new(store) as Arc<dyn LockingProvider>)
    })
});

fn memory() -> ProviderConfig {
    ProviderConfig::new("locking-memory")
}

fn redis() -> ProviderConfig {
    ProviderConfig::new("locking-redis")
}

fn store(id: &str) -> FakeStore {
    FakeStore::with_id(ProviderId::new(id).expect("a valid id"))
}

fn arc(store: &FakeStore) -> Arc<dyn LockingProvider> {
    Arc::new(store.clone())
}

/// A builder that knows memory and Redis, with these entries.
fn over(entries: impl IntoIterator<Item = ProviderConfig>) -> LockingModuleBuilder {
    builder([MEMORY, REDIS], entries)
}

/// The module refuses to start for this mistake; nothing was built, and no store was asked for anything.
async fn refused(builder: LockingModuleBuilder, made: &[&FakeStore]) -> ConfigurationError {
    let mistake = mistake(builder.build().await);
    assert!(built().is_empty(), "nothing is built from a wrong configuration");
    assert!(made.iter().all(|store| store.calls() == 0), "and nothing is asked");
    mistake
}

/// The provider that a call uses which says this, or nothing.
async fn serving(module: &LockingModule, name: Option<&str>) -> String {
    let call = module.acquire(format!("for {name:?}"));
    let call = match name {
        Some(name) => call.provider(name),
        None => call,
    };
    call.await.expect("free").provider.to_string()
}

#[tokio::test]
async fn the_only_provider_is_the_default_also_where_the_application_made_it() {
    let capture = Capture::start();
    let module = over([]).provider(arc(&store("own"))).build().await.expect("valid");
    assert_eq!(ids(&module), ["own"]);
    assert_eq!(serving(&module, None).await, "own");
    assert!(built().is_empty(), "memory is not needed");
    let told = capture.events(Level::INFO, "default locking provider");
    assert_eq!(told.len(), 1, "{}", capture.everything());
    assert_eq!(told[0].field("default"), "own");
}

#[tokio::test]
async fn a_ready_made_provider_counts_as_an_entry_without_a_flag_and_memory_is_the_default() {
    let capture = Capture::start();
    let module = over([redis()]).provider(arc(&store("own"))).build().await.expect("valid");
    assert_eq!(serving(&module, None).await, "locking-memory");
    assert_eq!(module.providers().len(), 3, "the ignored ones can be named");
    let warnings = capture.events(Level::WARN, "none has `is_default`");
    assert_eq!(warnings.len(), 1, "{}", capture.everything());
    assert_eq!(warnings[0].field("ignored"), r#"["locking-redis", "own"]"#);
    assert_eq!(warnings[0].field("default"), "locking-memory");
}

#[tokio::test]
async fn a_memory_entry_is_the_default_over_a_ready_made_provider_without_a_flag() {
    let entries = [memory().with_id("carts")];
    let module = over(entries).provider(arc(&store("own"))).build().await.expect("valid");
    assert_eq!(ids(&module), ["carts", "own"]);
}

#[tokio::test]
async fn a_ready_made_provider_with_the_id_of_memory_is_the_memory_that_the_rules_fall_back_to() {
    let (memory, other) = (store("locking-memory"), store("own"));
    let capture = Capture::start();
    let builder = over([redis()]).provider(arc(&other)).provider(arc(&memory));
    let module = builder.build().await.expect("valid");
    assert_eq!(serving(&module, None).await, "locking-memory");
    assert_eq!(memory.acquisitions.count(), 1);
    assert_eq!(module.providers().len(), 3, "no second memory provider is made up");
    let warnings = capture.events(Level::WARN, "");
    assert_eq!(warnings[0].field("ignored"), r#"["locking-redis", "own"]"#);
}

#[tokio::test]
async fn the_ready_made_provider_that_is_flagged_is_the_default() {
    let capture = Capture::start();
    let builder = over([redis(), memory()]).provider(arc(&store("own")));
    let module = builder.default_provider(arc(&store("main"))).build().await.expect("valid");
    assert_eq!(serving(&module, None).await, "main");
    assert_eq!(ids(&module), ["main", "locking-redis", "locking-memory", "own"]);
    assert!(capture.events(Level::WARN, "").is_empty(), "{}", capture.everything());
}

#[tokio::test]
async fn a_flagged_entry_is_the_default_over_ready_made_providers() {
    let entries = [memory(), redis().as_default()];
    let module = over(entries).provider(arc(&store("own"))).build().await.expect("valid");
    assert_eq!(serving(&module, None).await, "locking-redis");
    assert_eq!(ids(&module), ["locking-redis", "locking-memory", "own"]);
}

#[tokio::test]
async fn a_second_default_is_refused_with_the_ids_of_both() {
    let (one, two) = (store("one"), store("two"));
    let entry = redis().with_id("two").as_default();
    for builder in [
        over([]).default_provider(arc(&one)).default_provider(arc(&two)),
        over([entry]).default_provider(arc(&one)),
    ] {
        let mistake = refused(builder, &[&one, &two]).await;
        assert!(matches!(mistake, ConfigurationError::SeveralDefaults { .. }), "{mistake:?}");
        let text = mistake.to_string();
        assert!(text.contains("`one`") && text.contains("`two`"), "{text}");
    }
}

#[tokio::test]
async fn an_id_that_an_entry_or_another_ready_made_provider_has_is_refused() {
    let own = store("own");
    for builder in [
        over([redis().with_id("own")]).provider(arc(&own)),
        over([]).provider(arc(&own)).provider(arc(&store("own"))),
        over([]).provider(arc(&own)).default_provider(arc(&own)),
    ] {
        let mistake = refused(builder, &[&own]).await;
        assert!(matches!(mistake, ConfigurationError::DuplicateId { .. }), "{mistake:?}");
        assert!(mistake.to_string().contains("`own`"), "{mistake}");
    }
}

#[tokio::test]
async fn the_id_of_a_ready_made_provider_that_is_what_an_entry_resolves_to_is_refused() {
    for (entry, id) in [(redis(), "locking-redis"), (memory(), "locking-memory")] {
        let made = store(id);
        let builder = over([entry.with_id("orders")]).default_provider(arc(&made));
        let mistake = refused(builder, &[&made]).await;
        assert!(matches!(mistake, ConfigurationError::IdIsIdentifier { .. }), "{mistake:?}");
        assert_eq!(
            mistake.to_string(),
            format!(
                "the provider with the id `{id}` was made by the application, but `{id}` is what another entry \
                 resolves to; choose another `id`"
            ),
        );
    }
}

#[tokio::test]
async fn memory_that_ready_made_providers_need_and_is_not_linked_is_refused() {
    let (one, two) = (store("one"), store("two"));
    let builder = builder([REDIS], []).provider(arc(&one)).provider(arc(&two));
    assert_eq!(refused(builder, &[&one, &two]).await, ConfigurationError::MemoryNotLinked);
}

#[tokio::test]
async fn a_ready_made_provider_is_named_by_its_id_with_or_without_the_prefix() {
    let module = over([redis()]).provider(arc(&store("own"))).build().await.expect("valid");
    for name in ["own", "lp_own"] {
        assert_eq!(serving(&module, Some(name)).await, "own");
    }
}

#[tokio::test]
async fn an_identifier_names_the_entry_and_not_a_ready_made_provider_next_to_it() {
    let entries = [redis().with_id("one").as_default()];
    let module = over(entries).provider(arc(&store("own"))).build().await.expect("valid");
    assert_eq!(serving(&module, Some("locking-redis")).await, "one");
    let mistake = mistake(module.acquire("a").provider("locking-memory").await);
    assert!(matches!(mistake, ConfigurationError::UnknownProvider { .. }), "{mistake:?}");
    let text = mistake.to_string();
    assert!(text.contains("`one`") && text.contains("`own`"), "{text}");
}

#[tokio::test]
async fn migrations_questions_releases_and_the_close_reach_a_ready_made_provider_too() {
    let own = store("own");
    let module = over([memory()]).provider(arc(&own)).build().await.expect("valid");
    module.migrate().await.expect("it has no tables");
    assert_eq!(own.migrations.count(), 1);
    let listed = module.list().provider("own").await;
    assert!(matches!(listed, Err(Error::Unsupported { .. })), "{listed:?}");
    module.acquire("a").provider("own").await.expect("free");
    assert_eq!(module.release_all().provider("own").await.expect("it answers"), 1);
    module.close(Duration::ZERO).await.expect("closed");
    assert_eq!(own.closes.count(), 1);
}

#[tokio::test]
async fn a_start_that_fails_closes_what_it_built_and_leaves_ready_made_providers_open() {
    let broken = ProviderRegistration::new("broken", |id, _| {
        Box::pin(async move { Err(Error::unavailable(&id, "no store")) })
    });
    let own = store("own");
    let entries = [ProviderConfig::new("kept"), ProviderConfig::new("broken")];
    let answer = builder([KEPT, broken], entries).default_provider(arc(&own)).build().await;
    assert!(matches!(answer, Err(Error::Unavailable { .. })), "{answer:?}");
    assert_eq!(KEEP.take().iter().map(|kept| kept.closes.count()).collect::<Vec<_>>(), [1]);
    assert_eq!(own.calls(), 0);

    let module = over([]).provider(arc(&own)).build().await.expect("it can be given again");
    assert_eq!(serving(&module, None).await, "own");
}

#[tokio::test]
async fn ready_made_providers_stay_open_also_where_the_memory_behind_them_fails() {
    let broken = ProviderRegistration::new("locking-memory", |id, _| {
        Box::pin(async move { Err(Error::unavailable(&id, "no memory")) })
    });
    let (one, two) = (store("one"), store("two"));
    let answer = builder([broken], []).provider(arc(&one)).provider(arc(&two)).build().await;
    assert!(matches!(answer, Err(Error::Unavailable { .. })), "{answer:?}");
    assert_eq!((one.calls(), two.calls()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_dropped_half_way_leaves_ready_made_providers_open() {
    let endless = ProviderRegistration::new("endless", |_, _| Box::pin(std::future::pending()));
    let own = store("own");
    let builder = builder([endless], [ProviderConfig::new("endless")]);
    let build = builder.default_provider(arc(&own)).build();
    timeout(Duration::from_secs(1), build).await.expect_err("it never starts");
    assert_eq!(own.calls(), 0);

    let module = LockingModule::with_provider(arc(&own));
    assert_eq!(serving(&module, None).await, "own");
}

#[tokio::test]
async fn a_builder_shows_the_ids_of_ready_made_providers_and_nothing_else_of_them() {
    let own = store("own");
    let builder = over([]).provider(arc(&own));
    assert!(format!("{own:?}").contains("last_token"), "the provider itself shows more");
    let shown = format!("{builder:?}");
    assert!(shown.contains(r#"id: "own""#) && !shown.contains("last_token"), "{shown}");
}
