//! Tokens that grow with each holder.

use std::sync::atomic::{AtomicU64, Ordering};

use locking_core::{FencingToken, LockingModule};

use crate::fixture::Fixture;
use crate::intercept::Intercept;
use crate::support::{LONG, SHORT, always, ms, soon, until, until_free, within};

pub(crate) async fn tokens_grow_over_releases(f: Fixture) {
    let key = f.key("k");
    let mut last = FencingToken::new(0);
    for round in 0..f.scaled(100_000).max(200) {
        let module = if round % 2 == 0 { &f.a } else { &f.b };
        let lease = module.acquire(&key).owner("o").await.expect("free");
        always!(lease.token() > last, "round {round}: {lease:?} after {last}");
        last = lease.token();
        assert!(module.release_lease(&lease).await.expect("answered"));
    }
}

pub(crate) async fn tokens_grow_for_clients_that_come_later(f: Fixture) {
    let key = f.key("k");
    let mut last = FencingToken::new(0);
    let mut clients = vec![f.a.clone(), f.b.clone()];
    for round in 0..4 {
        if round > 0 {
            clients.push(LockingModule::with_provider(f.client().await));
        }
        if round == 3 {
            // What the store knows by itself.
            for earlier in clients.drain(..clients.len() - 1) {
                assert_eq!(earlier.close(ms(1000)).await.expect("closed"), 0);
            }
        }
        for module in &clients {
            let lease = module.acquire(&key).await.expect("free");
            always!(lease.token() > last, "round {round}: {} after {last}", lease.token());
            last = lease.token();
            assert!(module.release_lease(&lease).await.expect("answered"));
        }
    }
}

pub(crate) async fn tokens_grow_for_processes_that_start_later(f: Fixture) {
    let key = f.key("k");
    let first = f.a.lock(&key).await.expect("free");
    let mut last = first.token();
    first.release().await.expect("held to the end");
    for _ in 0..2 {
        let process = f.process().await;
        let token = soon("a free key", process.lock(&key, LONG, LONG)).await.expect("free");
        always!(token > last, "{token} after {last}");
        last = token;
        process.unlock(&key).await.expect("held to the end");
        within(LONG, "its end", process.exit()).await;
    }
}

pub(crate) async fn tokens_grow_over_expiry_force_and_kinds_of_hold(f: Fixture) {
    let key = f.key("k");
    let mut seen = vec![f.a.acquire(&key).expire(ms(60)).await.expect("free").token()];
    until_free(&f.b, &key).await;
    seen.push(f.b.acquire(&key).owner("o").await.expect("free").token());
    assert_eq!(f.a.release_all().await.expect("answered"), 1);
    let guard = f.a.lock(&key).await.expect("free");
    seen.push(guard.token());
    assert_eq!(f.b.release_all().including_running().await.expect("answered"), 1);
    let token = f.b.execute(&key, |lock| async move { lock.token() }).await;
    seen.push(token.expect("the job ran"));
    seen.push(f.a.acquire(&key).await.expect("free").token());
    always!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    drop(guard);
}

pub(crate) async fn tokens_grow_over_hand_offs(f: Fixture) {
    let (key, last) = (f.key("k"), std::sync::Arc::new(AtomicU64::new(0)));
    let waiting: Vec<_> = (0..60)
        .map(|n| {
            let module = if n % 2 == 0 { f.a.clone() } else { f.b.clone() };
            let (key, last) = (key.clone(), last.clone());
            tokio::spawn(async move {
                let guard = module.lock(key).timeout(LONG).await.expect("its turn comes");
                let token = guard.token().get();
                let before = last.swap(token, Ordering::SeqCst);
                always!(before < token, "{token} after {before}");
                guard.release().await.expect("held to the end");
            })
        })
        .collect();
    for waiter in waiting {
        waiter.await.expect("no panic");
    }
}

pub(crate) async fn a_guard_reports_its_own_token_after_its_end(f: Fixture) {
    let (key, client) = (f.key("k"), Intercept::new(f.client().await));
    let module = LockingModule::with_provider(client.clone());
    let first = module.lock(&key).lease(SHORT).await.expect("free");
    let token = first.token();
    client.fail_extends(usize::MAX);
    let next = f.b.lock(&key).timeout(LONG).await.expect("free after the expiry");
    assert_eq!(first.token(), token, "not the next holder's");
    always!(next.token() > token, "{} after {token}", next.token());
}

pub(crate) async fn the_store_tells_the_token_that_was_granted(f: Fixture) {
    let key = f.key("k");
    let lease = f.a.acquire(&key).await.expect("free");
    let info = f.b.inspect(&key).await.expect("answered").expect("held");
    assert_eq!(info.token, lease.token());
}

pub(crate) async fn a_resource_refuses_a_holder_that_was_overtaken(f: Fixture) {
    let (key, resource) = (f.key("k"), FencedResource::default());
    let (client, other) = (Intercept::new(f.client().await), f.b.clone());
    let module = LockingModule::with_provider(client.clone());
    let slow = module.lock(&key).lease(SHORT).await.expect("free");
    assert!(resource.write(slow.token()), "it holds the lock");
    client.fail_extends(usize::MAX);
    let next = other.lock(&key).timeout(LONG).await.expect("free after the expiry");
    always!(resource.write(next.token()), "{} after {}", next.token(), slow.token());
    always!(!resource.write(slow.token()), "a stale write is accepted");
    until("the slow one knows by itself too", || async { slow.check().is_err() }).await;
}

/// What a lock protects: it refuses a token smaller than one that it has seen.
#[derive(Default)]
struct FencedResource(AtomicU64);

impl FencedResource {
    fn write(&self, token: FencingToken) -> bool {
        self.0.fetch_max(token.get(), Ordering::SeqCst) <= token.get()
    }
}
