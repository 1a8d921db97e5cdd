//! What is left in the table, which nobody sees from the outside.

use std::sync::Arc;
use std::time::Duration;

use locking_core::{
    AcquireRequest, Error, Grant, KeySet, LockKey, LockingProvider, OwnerId, ReleaseScope,
    WaitUntil,
};
use tokio::time::{Instant, sleep, timeout};

use crate::MemoryProvider;
use crate::store::Store;

const KEYS: u64 = 12;

fn request(keys: impl IntoIterator<Item = u64>, wait: Duration) -> AcquireRequest {
    let key = |key| LockKey::new(format!("key_{key}")).expect("a key");
    AcquireRequest::new(KeySet::new(keys.into_iter().map(key)).expect("keys"))
        .with_wait(WaitUntil::Deadline(Instant::now() + wait))
}

fn waiters(store: &Store) -> usize {
    store.shards.iter().map(|shard| shard.lock().waiters.len()).sum()
}

/// Another one with the same owner, or a `release_all`, may have given it back before.
async fn give_back(provider: &MemoryProvider, grant: &Grant) {
    let given_back = provider.release_lease(&grant.lease).await;
    assert!(matches!(given_back, Ok(()) | Err(Error::Lost { .. })), "{given_back:?}");
}

/// Asks for keys again and again until the client is closed, and is given up at any moment.
async fn use_keys(provider: Arc<MemoryProvider>, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    loop {
        let count = if random.u8(..3) == 0 { random.usize(2..5) } else { 1 };
        let keys: Vec<u64> = (0..count).map(|_| random.u64(..KEYS)).collect();
        let mut request = request(keys, Duration::from_millis(random.u64(1..20)));
        if random.bool() {
            let owner = OwnerId::new(format!("owner_{}", random.u8(..3))).expect("an owner");
            request = request.with_owner(owner);
        }
        let given_up = Duration::from_micros(random.u64(1..2000));
        match timeout(given_up, provider.acquire(request)).await {
            Ok(Ok(grant)) => {
                if random.u8(..4) == 0 {
                    sleep(Duration::from_micros(random.u64(1..500))).await;
                }
                give_back(&provider, &grant).await;
            }
            Ok(Err(Error::Closed { .. })) => return,
            Ok(Err(Error::TimedOut { .. })) | Err(_) => {}
            Ok(Err(error)) => panic!("{error}"),
        }
        if random.u8(..40) == 0 {
            let freed = provider.release_all(ReleaseScope::everybody()).await;
            assert!(matches!(freed, Ok(_) | Err(Error::Closed { .. })), "{freed:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_those_who_waited() {
    let first = Arc::new(MemoryProvider::new());
    let second = Arc::new(first.another_client());
    let users: Vec<_> = (0..24)
        .map(|seed| {
            let provider = if seed % 2 == 0 { &first } else { &second };
            tokio::spawn(use_keys(Arc::clone(provider), seed))
        })
        .collect();
    sleep(Duration::from_millis(400)).await;
    first.close().await.expect("closed");
    // Nothing that the closed client had waited for is in the way of the others.
    let all = second.acquire(request(0..KEYS, Duration::from_secs(10))).await.expect("its turn");
    give_back(&second, &all).await;
    sleep(Duration::from_millis(100)).await;
    second.close().await.expect("closed");
    for user in users {
        user.await.expect("no panic");
    }
    // An owner who entered again what another of its requests had taken leaves it to that one, which may have gone.
    let third = second.another_client();
    third.release_all(ReleaseScope::everybody()).await.expect("open");
    let store = second.store();
    assert_eq!(waiters(store), 0);
    for shard in &store.shards {
        let shard = shard.lock();
        assert!(shard.slots().all(|slot| slot.queue.is_empty() && slot.kept_for.is_none()));
        assert_eq!(shard.len(), 0, "all was given back");
    }
    let give_up = Instant::now() + Duration::from_secs(10);
    while !store.shards.iter().all(|shard| shard.lock().reminded.is_empty()) {
        assert!(Instant::now() < give_up, "somebody is still reminded");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn many_who_waited_leave_no_room_behind() {
    let provider = MemoryProvider::new();
    provider.acquire(request([1], Duration::ZERO)).await.expect("free");
    let wait = |_| {
        let mut call = Box::pin(provider.acquire(request([1], Duration::from_secs(60))));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(call.as_mut().poll(&mut context).is_pending());
        call
    };
    let calls: Vec<_> = (0..5000).map(wait).collect();
    assert_eq!(waiters(provider.store()), 5000);
    drop(calls);
    assert_eq!(waiters(provider.store()), 0);
    let room =
        |store: &Store| store.shards.iter().map(|shard| shard.lock().waiters.capacity()).max();
    assert!(room(provider.store()) <= Some(64), "{:?}", room(provider.store()));
}
