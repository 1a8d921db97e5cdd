//! Many tasks of two clients on few keys, while waits are cancelled and connections are cut.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use locking_core::{
    AcquireRequest, Error, Expiry, KeySet, Lease, LockKey, LockingProvider, LossSignal, OwnerId,
    ProviderId, WaitUntil,
};
use locking_redis::{RedisOptions, RedisProvider};
use locking_testkit::servers::{Redis, RedisSetup};
use tokio::time::{Instant, sleep, timeout};

const KEYS: [&str; 3] = ["a", "b", "c"];

/// Who holds which key, and the greatest token of each.
#[derive(Default)]
struct Book {
    holders: Mutex<HashMap<String, u64>>,
    tokens: Mutex<HashMap<String, u64>>,
    granted: AtomicU64,
    violations: Mutex<Vec<String>>,
}

impl Book {
    fn enter(&self, lease: &Lease) {
        self.granted.fetch_add(1, Ordering::Relaxed);
        let mut holders = self.holders.lock().expect("not poisoned");
        let mut tokens = self.tokens.lock().expect("not poisoned");
        for leased in lease.taken() {
            let (key, token) = (leased.key.as_str().to_owned(), leased.token.get());
            let before = holders.insert(key.clone(), token);
            let greatest = tokens.entry(key.clone()).or_default();
            if before.is_some() || *greatest >= token {
                let said = format!("{key}: {token} while {before:?}, after {greatest}");
                self.violations.lock().expect("not poisoned").push(said);
            }
            *greatest = token;
        }
    }

    fn leave(&self, lease: &Lease) {
        let mut holders = self.holders.lock().expect("not poisoned");
        for leased in lease.taken() {
            holders.remove(leased.key.as_str());
        }
    }
}

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn request(dice: &mut Dice) -> AcquireRequest {
    let first = usize::try_from(dice.below(3)).expect("small");
    let count = if dice.below(4) == 0 { 2 } else { 1 };
    let keys = (0..count).map(|at| LockKey::new(KEYS[(first + at) % 3]).expect("a key"));
    let request = AcquireRequest::new(KeySet::new(keys).expect("keys"));
    let request = request.with_expiry(Expiry::new(Duration::from_secs(20)).expect("an expiry"));
    let request = match dice.below(8) {
        0 => request,
        1 => request.with_owner(OwnerId::fresh()),
        2 => request.with_owner(OwnerId::new("everybody").expect("an owner")),
        _ => request.with_owner(OwnerId::fresh()).with_guard(LossSignal::new()),
    };
    request.with_wait(match dice.below(6) {
        0 => WaitUntil::Now,
        1 => WaitUntil::Deadline(Instant::now() + Duration::from_millis(dice.below(30))),
        _ => WaitUntil::Deadline(Instant::now() + Duration::from_secs(3)),
    })
}

async fn work(provider: Arc<RedisProvider>, book: Arc<Book>, seed: u64, until: Instant) {
    let mut dice = Dice(seed);
    while Instant::now() < until {
        let acquiring = provider.acquire(request(&mut dice));
        let patience = match dice.below(3) {
            0 => Duration::from_micros(dice.below(5_000)),
            _ => Duration::from_secs(60),
        };
        let Ok(Ok(grant)) = timeout(patience, acquiring).await else { continue };
        let lease = grant.lease;
        book.enter(&lease);
        // No longer than a grant from the queue lasts: nothing renews here.
        match dice.below(4) {
            0 => sleep(Duration::from_micros(dice.below(4_000))).await,
            1 => tokio::task::yield_now().await,
            _ => {}
        }
        book.leave(&lease);
        if provider.release_now(&lease).is_some() {
            continue;
        }
        while let Err(error) = provider.release_lease(&lease).await {
            if matches!(error, Error::Lost { .. }) {
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn left(server: &Redis) -> String {
    // Without the counter, and the withdrawals that are remembered for a while.
    let script = "local left = {} for _, key in ipairs(redis.call('KEYS', '*')) do \
                  local kind = string.match(key, '^s:%z(.)') \
                  if kind ~= 't' and kind ~= 'x' then left[#left + 1] = string.gsub(key, '%z', '@') end \
                  end return table.concat(left, ' ')";
    server.command(&["EVAL", script, "0"]).await.expect("answered")
}

async fn confuse(seed: u64, cuts: bool) {
    let server = RedisSetup::new().start().await.expect("a server");
    let book = Arc::new(Book::default());
    let until = Instant::now() + Duration::from_secs(3);
    let mut clients = Vec::new();
    let mut tasks = Vec::new();
    for client in 0..2 {
        let options = RedisOptions::new(server.url()).expect("a URL");
        let options = options.with_namespace("s:").expect("a namespace");
        let id = ProviderId::new("redis").expect("an id");
        let provider = Arc::new(RedisProvider::connect(id, options).await.expect("connected"));
        for task in 0..12 {
            let (provider, book) = (Arc::clone(&provider), Arc::clone(&book));
            tasks.push(tokio::spawn(work(provider, book, seed + client * 100 + task, until)));
        }
        clients.push(provider);
    }
    while cuts && Instant::now() < until {
        sleep(Duration::from_millis(70)).await;
        server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.expect("answered");
        sleep(Duration::from_millis(70)).await;
        server.command(&["CLIENT", "KILL", "TYPE", "normal"]).await.expect("answered");
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    let violations = book.violations.lock().expect("not poisoned").clone();
    assert!(violations.is_empty(), "seed {seed}: {violations:?}");
    assert!(book.granted.load(Ordering::Relaxed) > 100, "work was done");
    let give_up = Instant::now() + Duration::from_secs(1);
    loop {
        let left = left(&server).await;
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < give_up, "seed {seed}: what is left behind: {left}");
        sleep(Duration::from_millis(20)).await;
    }
    for provider in &clients {
        for key in KEYS {
            let key = LockKey::new(key).expect("a key");
            assert!(provider.inspect(&key).await.expect("answered").is_none());
        }
        provider.close().await.expect("closed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_holds_twice_and_nothing_is_left_where_waits_are_cancelled() {
    confuse(1, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_holds_twice_and_nothing_is_left_where_connections_are_cut() {
    confuse(1_000, true).await;
}
