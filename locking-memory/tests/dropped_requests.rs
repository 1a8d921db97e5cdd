//! Requests of one owner that were granted one key together, and of which some are dropped before
//! they learn of it: what is left is as if those had never been.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use locking_core::{Error, Lease, LockingModule, Result};
use locking_memory::MemoryProvider;
use tokio::time::{Instant, sleep};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A request that waits.
type Request<'a> = Pin<Box<dyn Future<Output = Result<Lease>> + Send + 'a>>;

/// A table in which `k` is held by another owner than `o`, until it is passed on.
struct Table {
    provider: Arc<MemoryProvider>,
    module: LockingModule,
    held: Lease,
}

impl Table {
    async fn new() -> Self {
        let provider = Arc::new(MemoryProvider::new());
        let module = LockingModule::with_provider(Arc::clone(&provider) as _);
        let held = module.acquire("k").owner("first").await.expect("free");
        Self { provider, module, held }
    }

    /// Queues a request of the owner `o` for these keys, one of which is held.
    async fn queue(&self, keys: &[&str], expire: Option<Duration>) -> Request<'_> {
        self.queue_as("o", keys, expire).await
    }

    async fn queue_as(&self, owner: &str, keys: &[&str], expire: Option<Duration>) -> Request<'_> {
        let acquire = self.module.acquire(keys.to_vec()).owner(owner).wait(ms(10_000));
        let acquire = match expire {
            Some(expire) => acquire.expire(expire),
            None => acquire,
        };
        let mut request: Request<'_> = Box::pin(acquire.into_future());
        let is_pending =
            poll_fn(|context| Poll::Ready(request.as_mut().poll(context).is_pending()));
        assert!(is_pending.await, "it is held");
        request
    }

    /// Grants `k` to those who wait for it, none of whom learns of it yet.
    async fn pass_on(&self) {
        assert!(self.module.release_lease(&self.held).await.expect("open"));
    }

    /// How long a key is still held: `None` where it isn't, `Some(None)` for ever.
    async fn left(&self, key: &str) -> Option<Option<Duration>> {
        self.module.inspect(key).await.expect("open").map(|info| info.expires_in)
    }

    async fn assert_left(&self, from: u64, to: u64) {
        let left = self.left("k").await.expect("held").expect("with an end");
        assert!(ms(from) < left && left <= ms(to), "{left:?} is not within {from} to {to} ms");
    }

    async fn assert_held_for_ever(&self) {
        assert_eq!(self.left("k").await, Some(None));
    }

    async fn until_forgotten(&self) {
        let give_up = Instant::now() + Duration::from_secs(10);
        while self.provider.table_len() != 0 {
            assert!(Instant::now() < give_up, "it has ended");
            sleep(ms(20)).await;
        }
    }

    fn assert_forgotten(&self) {
        assert_eq!(self.provider.table_len(), 0, "nobody has a lease of anything");
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_another_was_told_meanwhile_stays() {
    let table = Table::new().await;
    let taker = table.queue(&["k"], Some(ms(2000))).await;
    let longest = table.queue(&["k"], Some(ms(10_000))).await;
    table.pass_on().await;
    table.module.acquire("k").owner("o").expire(ms(5000)).await.expect("its own");
    drop(longest);
    table.assert_left(4000, 5000).await;
    taker.await.expect("granted");
    sleep(ms(3000)).await;
    let refused = table.module.acquire("k").owner("next").await;
    assert!(matches!(refused, Err(Error::Held { .. })), "it was told 5 s: {refused:?}");
    sleep(ms(3000)).await;
    table.module.acquire("k").owner("next").await.expect("nobody was told more");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_another_will_be_told_stays() {
    let table = Table::new().await;
    let taker = table.queue(&["k"], Some(ms(2000))).await;
    let longest = table.queue(&["k"], Some(ms(10_000))).await;
    let middle = table.queue(&["k"], Some(ms(5000))).await;
    table.pass_on().await;
    drop(longest);
    table.assert_left(4000, 5000).await;
    middle.await.expect("granted");
    drop(taker);
    table.assert_left(4000, 5000).await;
}

#[tokio::test(start_paused = true)]
async fn who_asked_for_no_end_does_not_keep_one_that_is_taken_back() {
    let table = Table::new().await;
    let taker = table.queue(&["k"], Some(ms(2000))).await;
    let longest = table.queue(&["k"], Some(ms(10_000))).await;
    let endless = table.queue(&["k"], None).await;
    table.pass_on().await;
    drop(longest);
    table.assert_left(1000, 2000).await;
    taker.await.expect("granted");
    endless.await.expect("granted");
    table.assert_left(1000, 2000).await;
}

#[tokio::test(start_paused = true)]
async fn all_extensions_are_taken_back_in_either_order() {
    for first in [0, 1] {
        let table = Table::new().await;
        let taker = table.queue(&["k"], Some(ms(2000))).await;
        let mut longer = vec![
            table.queue(&["k"], Some(ms(5000))).await,
            table.queue(&["k"], Some(ms(10_000))).await,
        ];
        table.pass_on().await;
        drop(longer.remove(first));
        drop(longer);
        table.assert_left(1000, 2000).await;
        taker.await.expect("granted");
        table.assert_left(1000, 2000).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_was_learned_of_is_not_taken_back() {
    let table = Table::new().await;
    let taker = table.queue(&["k"], Some(ms(2000))).await;
    let longer = table.queue(&["k"], Some(ms(5000))).await;
    let longest = table.queue(&["k"], Some(ms(10_000))).await;
    table.pass_on().await;
    longer.await.expect("granted");
    drop((taker, longest));
    table.assert_left(4000, 5000).await;
}

#[tokio::test(start_paused = true)]
async fn an_end_that_was_set_meanwhile_counts_whoever_is_dropped() {
    let table = Table::new().await;
    let taker = table.queue(&["k"], Some(ms(2000))).await;
    let longer = table.queue(&["k"], Some(ms(5000))).await;
    let longest = table.queue(&["k"], Some(ms(10_000))).await;
    table.pass_on().await;
    let lease = taker.await.expect("granted");
    table.module.extend(&lease, ms(1000)).await.expect("held");
    drop(longest);
    table.assert_left(0, 1000).await;
    drop(longer);
    table.assert_left(0, 1000).await;
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_nobody_learned_of_is_free_in_either_order() {
    for first in [0, 1, 2] {
        let table = Table::new().await;
        let mut requests = Vec::new();
        for _ in 0..3 {
            requests.push(table.queue(&["k"], None).await);
        }
        table.pass_on().await;
        drop(requests.remove(first));
        table.assert_held_for_ever().await;
        drop(requests.pop());
        table.assert_held_for_ever().await;
        drop(requests);
        table.assert_forgotten();
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_nobody_learned_of_is_passed_on() {
    let table = Table::new().await;
    let both = (table.queue(&["k"], None).await, table.queue(&["k"], None).await);
    let next = table.queue_as("next", &["k"], None).await;
    table.pass_on().await;
    drop(both);
    next.await.expect("nobody has it");
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_one_learned_of_stays_whoever_is_dropped() {
    for known in [0, 1, 2] {
        let table = Table::new().await;
        let mut requests = Vec::new();
        for _ in 0..3 {
            requests.push(table.queue(&["k"], None).await);
        }
        table.pass_on().await;
        requests.remove(known).await.expect("granted");
        drop(requests);
        table.assert_held_for_ever().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_one_who_never_learned_of_it_binds_nobody() {
    let table = Table::new().await;
    let for_ever = table.queue(&["k"], None).await;
    let short = table.queue(&["k"], Some(ms(2000))).await;
    table.pass_on().await;
    table.assert_held_for_ever().await;
    drop(for_ever);
    table.assert_left(1000, 2000).await;
    short.await.expect("granted");
}

#[tokio::test(start_paused = true)]
async fn who_is_left_alone_with_a_hold_gives_it_back() {
    let table = Table::new().await;
    let (taker, other) = (table.queue(&["k"], None).await, table.queue(&["k"], None).await);
    table.pass_on().await;
    drop(taker);
    let lease = other.await.expect("granted");
    assert!(table.module.release_lease(&lease).await.expect("open"));
    table.assert_forgotten();
}

#[tokio::test(start_paused = true)]
async fn the_same_holds_for_each_of_several_keys() {
    let table = Table::new().await;
    let taker = table.queue(&["k", "l"], Some(ms(2000))).await;
    let wide = table.queue(&["j", "k", "l"], Some(ms(10_000))).await;
    let other = table.queue(&["k"], Some(ms(5000))).await;
    table.pass_on().await;
    drop(wide);
    assert_eq!(table.left("j").await, None, "it was taken by the one that was dropped");
    table.assert_left(4000, 5000).await;
    drop(taker);
    assert_eq!(table.left("l").await, None, "the last that was granted it has gone");
    table.assert_left(4000, 5000).await;
    drop(other);
    table.assert_forgotten();
}

#[tokio::test(start_paused = true)]
async fn a_successor_is_left_alone() {
    let table = Table::new().await;
    let both = (table.queue(&["k"], None).await, table.queue(&["k"], Some(ms(2000))).await);
    table.pass_on().await;
    assert_eq!(table.module.release_all().owner("o").await.expect("open"), 1);
    table.module.acquire("k").owner("o").await.expect("free");
    drop(both);
    table.assert_held_for_ever().await;
}

#[tokio::test(start_paused = true)]
async fn what_expired_before_anybody_learned_of_it_leaves_nothing() {
    let table = Table::new().await;
    let both = (table.queue(&["k"], Some(ms(10))).await, table.queue(&["k"], Some(ms(20))).await);
    table.pass_on().await;
    sleep(ms(30)).await;
    drop(both);
    table.assert_forgotten();
}

#[tokio::test(start_paused = true)]
async fn what_a_dropped_request_leaves_to_one_without_an_end_is_forgotten_at_its_end() {
    let table = Table::new().await;
    let (taker, other) =
        (table.queue(&["k"], Some(ms(2000))).await, table.queue(&["k"], None).await);
    table.pass_on().await;
    other.await.expect("granted");
    drop(taker);
    table.assert_left(1000, 2000).await;
    table.until_forgotten().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drops_that_race_the_grant_leave_what_was_learned_of_and_nothing_else() {
    for round in 0..1000_usize {
        let table = Arc::new(Table::new().await);
        let requests: Vec<_> = (0..4)
            .map(|_| {
                let module = table.module.clone();
                tokio::spawn(async move { module.acquire("k").owner("o").wait(ms(10_000)).await })
            })
            .collect();
        while table.module.inspect("k").await.expect("open").and_then(|info| info.waiters)
            != Some(4)
        {
            tokio::task::yield_now().await;
        }
        let passing_on = tokio::spawn({
            let table = Arc::clone(&table);
            async move { table.pass_on().await }
        });
        // All but one or none, beginning with any of them.
        for at in 0..3 + round % 2 {
            requests[(round + at) % 4].abort();
        }
        passing_on.await.expect("no panic");
        let mut leases = Vec::new();
        for request in requests {
            leases.extend(request.await.ok().map(|answer| answer.expect("granted")));
        }
        if leases.is_empty() {
            table.assert_forgotten();
        } else {
            assert!(leases.iter().filter(|lease| lease.taken().count() == 1).count() <= 1);
            table.assert_held_for_ever().await;
        }
    }
}
