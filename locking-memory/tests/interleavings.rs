//! Interleavings that a provider of requests by several keys and owners gets wrong easily.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use locking_core::{
    AcquireRequest, Error, KeySet, Lease, LockKey, LockingModule, LockingProvider, Wait, WaitUntil,
};
use locking_memory::MemoryProvider;
use tokio::time::{Instant, sleep};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn module() -> (Arc<MemoryProvider>, LockingModule) {
    let provider = Arc::new(MemoryProvider::new());
    (Arc::clone(&provider), LockingModule::with_provider(provider))
}

async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context).is_pending()))
        .await
}

async fn until_table_has(provider: &MemoryProvider, slots: usize) {
    let give_up = Instant::now() + Duration::from_secs(10);
    while provider.table_len() != slots {
        assert!(Instant::now() < give_up, "{} slots are left", provider.table_len());
        sleep(ms(20)).await;
    }
}

#[tokio::test]
async fn a_dropped_request_leaves_the_hold_that_its_owner_was_granted_by_another() {
    let (_, module) = module();
    let held = module.acquire("k").owner("first").await.expect("free");
    let request = || Box::pin(module.acquire("k").owner("o").wait(ms(10_000)).into_future());
    let (mut one, mut other) = (request(), request());
    assert!(is_pending(&mut one).await && is_pending(&mut other).await, "it is held");
    assert!(module.release_lease(&held).await.expect("open"));
    other.await.expect("granted with the first");
    drop(one);
    let refused = module.acquire("k").owner("next").await;
    assert!(matches!(refused, Err(Error::Held { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_dropped_request_takes_back_its_own_extension_only() {
    let (_, module) = module();
    let mine = module.acquire("k").owner("o").expire(ms(100)).await.expect("free");
    let held = module.acquire("l").owner("other").await.expect("free");
    let both = module.acquire(["k", "l"]).owner("o").expire(ms(60_000)).wait(ms(10_000));
    let mut both = Box::pin(both.into_future());
    assert!(is_pending(&mut both).await, "one is held");
    assert!(module.release_lease(&held).await.expect("open"));
    module.extend(&mine, ms(120_000)).await.expect("held");
    drop(both);
    sleep(ms(150)).await;
    let refused = module.acquire("k").owner("next").await;
    assert!(matches!(refused, Err(Error::Held { .. })), "the later extension counts: {refused:?}");
}

#[tokio::test]
async fn late_releases_of_expired_keys_leave_nothing() {
    let (provider, module) = module();
    for n in 0..50 {
        module.acquire(n.to_string()).owner("o").expire(ms(1)).await.expect("free");
    }
    sleep(ms(5)).await;
    for n in 0..50 {
        assert!(!module.release(n.to_string()).owner("o").await.expect("open"), "expired");
    }
    until_table_has(&provider, 0).await;
}

#[tokio::test]
async fn a_waiter_gets_a_key_that_expired_though_the_one_before_it_leaves_just_then() {
    let (_, module) = module();
    let held = module.acquire("k").await.expect("free");
    let wait = |wait: Wait| Box::pin(module.acquire("k").wait(wait).into_future());
    let mut short =
        Box::pin(module.acquire("k").expire(ms(50)).wait(Wait::Unlimited).into_future());
    let (mut leaving, mut last) = (wait(Wait::Unlimited), wait(Wait::Unlimited));
    for waiting in [&mut short, &mut leaving, &mut last] {
        assert!(is_pending(waiting).await, "it is held");
    }
    assert!(module.release_lease(&held).await.expect("open"));
    short.await.expect("granted");
    // Nothing else runs meanwhile: whoever looks finds that it has ended, before any timer has.
    std::thread::sleep(ms(70));
    assert!(module.inspect("k").await.expect("open").is_none(), "it has expired");
    drop(leaving);
    tokio::time::timeout(ms(5000), last).await.expect("woken").expect("granted");
}

#[tokio::test]
async fn a_waiters_lease_that_expires_leaves_nothing() {
    let (provider, module) = module();
    let held = module.acquire("k").await.expect("free");
    let mut waiting = Box::pin(module.acquire("k").expire(ms(20)).wait(ms(5000)).into_future());
    assert!(is_pending(&mut waiting).await, "it is held");
    assert!(module.release_lease(&held).await.expect("open"));
    waiting.await.expect("granted");
    until_table_has(&provider, 0).await;
}

#[tokio::test]
async fn a_lease_that_was_given_an_end_later_leaves_nothing() {
    let (provider, module) = module();
    let lease = module.acquire("k").await.expect("free");
    module.extend(&lease, ms(20)).await.expect("held");
    until_table_has(&provider, 0).await;
}

#[tokio::test]
async fn keys_kept_for_a_wide_request_are_free_again_soon() {
    let (_, module) = module();
    let (mut held, mut free) = ("b", "a");
    let mut lease = module.acquire(held).await.expect("free");
    let wide = module.lock(["a", "b"]).timeout(Wait::Unlimited).into_future();
    let mut wide = Box::pin(wide);
    assert!(is_pending(&mut wide).await, "one is held");
    // The two keys are held in turn, and never free at once, until one is kept for the wide request.
    for _ in 0..64 {
        let Ok(next) = module.acquire(free).await else { break };
        assert!(module.release_lease(&lease).await.expect("open"));
        (lease, held, free) = (next, free, held);
    }
    let kept = module.acquire(free).await;
    assert!(matches!(kept, Err(Error::Held { .. })), "it was passed over often: {kept:?}");
    // What the wide request lacks stays held: that is no reason to keep the other for ever.
    module.acquire(free).wait(ms(1000)).await.expect("free after a moment");
}

#[tokio::test]
async fn a_lease_whose_text_names_a_key_twice_is_refused() {
    let (_, module) = module();
    let lease = module.acquire("k").owner("o").await.expect("free");
    let mut text = serde_json::to_value(&lease).expect("plain data");
    let key = text["keys"][0].clone();
    text["keys"] = serde_json::json!([key, key]);
    let error = serde_json::from_value::<Lease>(text).expect_err("each key once");
    assert!(error.to_string().contains("each key once"), "{error}");
}

#[tokio::test]
async fn a_guard_whose_lease_was_given_back_by_another_knows() {
    let (_, module) = module();
    let guard = module.lock("k").await.expect("free");
    assert!(module.release_lease(guard.lease()).await.expect("open"));
    assert!(guard.check().is_err(), "the key may be another's");
}

#[tokio::test]
async fn a_guard_whose_lease_was_shortened_by_another_knows_before_the_next_holder_does() {
    let (_, module) = module();
    let guard = module.lock("k").await.expect("free");
    module.extend(guard.lease(), ms(20)).await.expect("held");
    let next = module.lock("k").timeout(ms(5000)).await.expect("free after that");
    assert!(guard.check().is_err() && next.check().is_ok(), "two would hold the key");
}

#[tokio::test]
async fn who_wants_several_keys_does_not_overtake_who_came_first_for_one_of_them() {
    // Which of the two is settled first is left to chance: each module has hashes of its own.
    for _ in 0..32 {
        let (_, module) = module();
        module.acquire(["a", "b"]).await.expect("free");
        let mut first = module.lock("b").timeout(ms(10_000)).into_future();
        let mut wide = module.lock(["a", "b"]).timeout(ms(10_000)).into_future();
        assert!(is_pending(&mut first).await && is_pending(&mut wide).await, "both are held");
        assert_eq!(module.release_all().await.expect("open"), 2);
        assert!(is_pending(&mut wide).await, "it came second for one of them");
        drop(first.await.expect("its turn"));
        drop(wide.await.expect("its turn"));
    }
}

#[tokio::test]
async fn a_waiter_whose_deadline_comes_with_the_end_of_the_hold_is_granted_the_key() {
    let (_, module) = module();
    module.acquire("k").expire(ms(20)).await.expect("free");
    let mut wait = Box::pin(module.acquire("k").wait(ms(30)).into_future());
    assert!(is_pending(&mut wait).await, "it is held");
    // Nobody looks at either moment.
    std::thread::sleep(ms(60));
    wait.await.expect("nobody else wants it");
}

#[test]
fn a_close_sees_the_guard_of_a_runtime_that_had_none_when_others_came() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().expect("a runtime")
    };
    let ((_, module), first, second) = (module(), runtime(), runtime());
    let held = second.block_on(async { module.acquire("k").await.expect("free") });
    let waiting = module.clone();
    let waiting = first.spawn(async move { waiting.lock("k").timeout(ms(5000)).await });
    let broken = second.block_on(async {
        while module.inspect("k").await.expect("open").and_then(|info| info.waiters) != Some(1) {
            sleep(ms(2)).await;
        }
        drop(module.lock("other").await.expect("free"));
        assert!(module.release_lease(&held).await.expect("open"));
        let guard = waiting.await.expect("no panic").expect("granted");
        let broken = module.close(ms(100)).await.expect("closed");
        assert!(guard.check().is_err(), "it was broken");
        broken
    });
    assert_eq!(broken, 1);
}

#[tokio::test]
async fn a_call_that_is_polled_only_after_the_close_began_is_refused() {
    let (_, module) = module();
    let guard = module.lock("g").await.expect("free");
    let late = module.acquire("k").into_future();
    let mut closing = Box::pin(module.close(ms(1000)));
    assert!(is_pending(&mut closing).await, "it waits for the guard");
    assert!(matches!(late.await, Err(Error::Closed { .. })), "granting has stopped");
    drop(guard);
    assert_eq!(closing.await.expect("closed"), 0);
}

#[tokio::test]
async fn a_close_waits_until_those_whose_wait_it_ended_were_told() {
    let (_, module) = module();
    module.acquire("k").await.expect("free");
    let waiting = tokio::spawn({
        let module = module.clone();
        async move { module.acquire("k").wait(Wait::Unlimited).await }
    });
    while module.inspect("k").await.expect("open").and_then(|info| info.waiters) != Some(1) {
        tokio::task::yield_now().await;
    }
    assert_eq!(module.close(ms(10_000)).await.expect("closed"), 0);
    assert!(waiting.is_finished(), "its task was polled");
    assert!(matches!(waiting.await.expect("no panic"), Err(Error::Closed { .. })));
}

#[tokio::test]
async fn a_close_waits_until_a_lease_that_was_granted_is_told() {
    let (_, module) = module();
    module.acquire("k").await.expect("free");
    let mut waiting = module.acquire("k").wait(Wait::Unlimited).into_future();
    assert!(is_pending(&mut waiting).await, "it is held");
    assert!(module.release("k").await.expect("open"));
    let mut closing = Box::pin(module.close(ms(10_000)));
    assert!(is_pending(&mut closing).await, "it waits for the lease");
    waiting.await.expect("it was granted before");
    assert_eq!(closing.await.expect("closed"), 0);
}

// More threads than cores: some are stopped wherever they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn nothing_is_granted_after_waits_were_ended() {
    for _ in 0..1000 {
        let provider = Arc::new(MemoryProvider::new());
        let (other, granted) = (provider.another_client(), Arc::new(AtomicUsize::new(0)));
        let requests = [(&["a"][..], false), (&["a"], true), (&["b"], true), (&["a", "b"], true)];
        let asking = requests.map(|(keys, waits)| {
            let keys = KeySet::new(keys.iter().map(|key| LockKey::new(key).expect("a key")));
            let wait = if waits { WaitUntil::Forever } else { WaitUntil::Now };
            let request = AcquireRequest::new(keys.expect("keys")).with_wait(wait);
            let (provider, granted) = (Arc::clone(&provider), Arc::clone(&granted));
            tokio::spawn(async move {
                let mut last = None;
                loop {
                    match provider.acquire(request.clone()).await {
                        Ok(grant) => {
                            granted.fetch_add(1, Ordering::SeqCst);
                            last = Some(grant.lease.token());
                            provider.release_lease(&grant.lease).await.expect("held");
                        }
                        Err(Error::Held { .. }) => tokio::task::yield_now().await,
                        Err(Error::Closed { .. }) => return last,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        });
        while granted.load(Ordering::SeqCst) < 20 {
            tokio::task::yield_now().await;
        }
        provider.end_waits();
        let probe = KeySet::from(LockKey::new("probe").expect("a key"));
        let after = other.acquire(AcquireRequest::new(probe)).await.expect("free").lease.token();
        for asking in asking {
            let last = asking.await.expect("no panic");
            assert!(last.is_none_or(|last| last < after), "{last:?} was granted after {after}");
        }
    }
}

#[tokio::test]
async fn what_many_releases_leave_is_found_and_is_all_that_is_left() {
    const KEYS: usize = 3000;
    let (provider, module) = module();
    let (key, owner) = (|at| format!("key_{at}"), |at| format!("owner_{}", at % 3));
    for at in 0..KEYS {
        module.acquire(key(at)).owner(owner(at)).await.expect("free");
    }
    for at in (0..KEYS).step_by(7) {
        assert!(module.release(key(at)).owner(owner(at)).await.expect("open"));
    }
    let is_left = |at: &usize| !at.is_multiple_of(7);
    let of_owner = (0..KEYS).filter(is_left).filter(|at| at % 3 == 1).count() as u64;
    assert_eq!(module.release_all().owner(owner(1)).await.expect("open"), of_owner);
    assert_eq!(module.release_all().owner(owner(1)).await.expect("open"), 0);
    for at in (0..KEYS).filter(is_left).filter(|at| at % 3 != 1) {
        assert!(module.release(key(at)).owner(owner(at)).await.expect("open"), "{at}");
    }
    assert_eq!(provider.table_len(), 0);
}

#[tokio::test]
async fn a_close_ends_waits_at_once_while_what_is_held_goes_on() {
    let (_, module) = module();
    let guard = module.lock("k").lease(ms(60)).await.expect("free");
    let waiting = tokio::spawn({
        let module = module.clone();
        async move { module.acquire("k").wait(Wait::Unlimited).await }
    });
    sleep(ms(20)).await;
    let closing = tokio::spawn({
        let module = module.clone();
        async move { module.close(ms(10_000)).await }
    });
    let answer = waiting.await.expect("no panic");
    assert!(matches!(answer, Err(Error::Closed { .. })), "{answer:?}");
    sleep(ms(200)).await;
    guard.check().expect("it is still renewed");
    drop(guard);
    assert_eq!(closing.await.expect("no panic").expect("closed"), 0);
}

#[test]
#[should_panic(expected = "timers are disabled")]
fn a_guard_on_a_runtime_without_a_timer_panics_where_it_is_seen() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (_, module) = module();
    // Else nothing would ever renew it.
    let _ = runtime.block_on(module.lock("k").into_future());
}
