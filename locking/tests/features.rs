//! What is registered with each feature set of the facade. Run it with each set alone.

use locking::{LockingConfig, LockingModule, linked_providers};

#[test]
fn a_provider_is_registered_exactly_if_its_feature_is_on() {
    let mut expected = Vec::new();
    if cfg!(feature = "memory") {
        expected.push("locking-memory");
    }
    if cfg!(feature = "postgres") {
        expected.push("locking-postgres");
    }
    if cfg!(feature = "redis") {
        expected.push("locking-redis");
    }
    assert_eq!(linked_providers(), expected);
}

#[cfg(feature = "memory")]
#[tokio::test]
async fn memory_is_the_default_of_an_empty_configuration() {
    let module = LockingModule::new(LockingConfig::new()).await.expect("memory is linked");

    let ids: Vec<_> = module.providers().into_iter().map(String::from).collect();
    assert_eq!(ids, [locking::providers::memory::IDENTIFIER]);
    assert_eq!(module.execute("prod_123", |_| async { 1 }).await.expect("a free key"), 1);
}

#[cfg(not(feature = "memory"))]
#[tokio::test]
async fn an_empty_configuration_needs_memory_and_says_so() {
    use locking::{ConfigurationError, Error};

    let refused = LockingModule::new(LockingConfig::new()).await.expect_err("nothing is linked");

    let expected = ConfigurationError::MemoryNotLinked;
    assert!(matches!(&refused, Error::Configuration(found) if *found == expected), "{refused}");
    assert!(refused.to_string().contains("enable the feature `memory`"), "{refused}");
}

#[cfg(not(feature = "memory"))]
#[tokio::test]
async fn a_provider_that_is_not_linked_is_refused_with_the_feature_that_brings_it() {
    use locking::ProviderConfig;

    let config = LockingConfig::new().with_provider(ProviderConfig::new("locking-memory"));
    let refused = LockingModule::new(config).await.expect_err("nothing is linked").to_string();

    assert!(refused.contains("no provider `locking-memory` is linked"), "{refused}");
    assert!(refused.contains("enable the feature `memory` of `locking`"), "{refused}");
}
