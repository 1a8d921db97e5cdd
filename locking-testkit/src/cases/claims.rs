//! What a provider says of itself.

use locking_core::LockKey;

use crate::fixture::Fixture;

pub(crate) async fn the_provider_claims_what_its_harness_says(f: Fixture) {
    let client = f.client().await;
    assert_eq!(client.capabilities(), f.capabilities());
}

pub(crate) async fn every_client_and_lease_has_the_providers_id(f: Fixture) {
    let (one, other) = (f.client().await, f.client().await);
    assert_eq!(one.id(), other.id());
    let lease = f.a.acquire(f.key("k")).await.expect("free");
    assert_eq!(&lease.provider, one.id());
    let error = f.b.acquire(f.key("k")).await.expect_err("held");
    assert_eq!(error.provider(), Some(one.id()));
    assert_eq!(error.key().map(LockKey::as_str), Some(f.key("k").as_str()));
}

pub(crate) async fn migrations_can_be_run_again_and_at_once(f: Fixture) {
    let client = f.client().await;
    f.a.migrate().await.expect("migrated");
    let (one, other, third) = tokio::join!(f.a.migrate(), f.b.migrate(), client.migrate());
    one.and(other).and(third).expect("again, at once");
    f.a.acquire(f.key("k")).await.expect("free");
}

pub(crate) async fn what_is_not_claimed_is_answered_as_unsupported(f: Fixture) {
    use locking_core::{Capability, Error};

    let key = f.key("k");
    f.a.acquire(&key).await.expect("free");
    let (inspected, listed) = (f.b.inspect(&key).await, f.b.list().await);
    if f.capabilities().has(Capability::Lists) {
        assert!(inspected.expect("claimed").is_some() && listed.expect("claimed").len() == 1);
        return;
    }
    let unsupported =
        |error: Error| matches!(error, Error::Unsupported { capability: Capability::Lists, .. });
    assert!(inspected.is_err_and(unsupported) && listed.is_err_and(unsupported));
}
