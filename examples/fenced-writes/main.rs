//! A holder that was paused writes after its lock is over: the resource refuses its older token.
//!
//! ```text
//! LOCKING_POSTGRES_URL=postgres://me@127.0.0.1/shop cargo run --package fenced-writes --example fenced-writes
//! LOCKING_REDIS_URL=redis://127.0.0.1:6379 cargo run --package fenced-writes --example fenced-writes
//! ```
//!
//! With both, it shows both. In the database it makes a schema of its own, `fenced_writes`.
//!
//! 1. Alice locks a product, reads its stock, makes sure that she holds it, and is paused before she writes: by
//!    her operating system, by a debugger, by a machine that sleeps.
//! 2. Her lease ends, because nobody renews it. Bob is granted the lock, and reads the stock with a greater token.
//! 3. Alice wakes up in the middle of her write. No lock can stop her; the product does, although Bob hasn't
//!    written yet: he read what his write comes from.
//!
//! What that takes of a resource is one column and one condition in PostgreSQL (`postgres.rs`), and one
//! field and one script in Redis (`redis.rs`).
//!
//! Each part checks what it shows; if one comes out otherwise, the program ends with an error.

mod postgres;
mod redis;

use std::env;
use std::error::Error as StdError;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use locking::{Error, FencingToken, LockingConfig, LockingModule, ProviderConfig};
use tokio::sync::oneshot;

use crate::postgres::PostgresProduct;
use crate::redis::RedisProduct;

/// How long a paused holder keeps the others out. So short for this program's sake alone.
const LEASE: Duration = Duration::from_secs(1);

type Result<T = ()> = std::result::Result<T, Box<dyn StdError + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result {
    let (postgres, redis) = (env::var("LOCKING_POSTGRES_URL"), env::var("LOCKING_REDIS_URL"));
    if postgres.is_err() && redis.is_err() {
        return Err("set LOCKING_POSTGRES_URL or LOCKING_REDIS_URL to a server's address".into());
    }
    if let Ok(url) = postgres {
        println!("A row in PostgreSQL");
        show::<PostgresProduct>(url).await?;
    }
    if let Ok(url) = redis {
        println!("A hash in Redis");
        show::<RedisProduct>(url).await?;
    }
    Ok(())
}

/// What the lock protects: it remembers the greatest token that it has seen.
trait Product: Sized {
    /// Where the locks are stored: on the same server.
    fn locks() -> ProviderConfig;

    /// Connects to the product that `key` locks.
    async fn open(url: &str, key: &str) -> Result<Self>;

    /// Reads the stock, and remembers the token. `None`, and nothing changes, if it is smaller than one before.
    async fn stock(&self, token: FencingToken) -> Result<Option<i64>>;

    /// Sets the stock. Answers `false`, and changes nothing, if the token is smaller than one before.
    async fn set_stock(&self, stock: i64, token: FencingToken) -> Result<bool>;

    /// Leaves nothing behind.
    async fn remove(&self) -> Result;
}

async fn show<P: Product>(url: String) -> Result {
    let key = format!("prod_{}", std::process::id());
    let module = LockingModule::new(LockingConfig::new().with_provider(P::locks())).await?;
    let product = P::open(&url, &key).await?;

    let (holds, alice_holds) = oneshot::channel();
    let (wake, sleeps) = channel();
    let alice = Paused { url, key: key.clone(), holds, sleeps };
    // Another process, in short: she has a thread, a runtime and connections of her own.
    let alice = std::thread::spawn(|| alice.run::<P>());

    let hers = alice_holds.await?;
    println!("   alice holds {key}, with the token {hers}, has read its stock, and is paused");
    let bob = module.lock(key).await?;
    println!("   bob waits until her lease is over, and holds it with the token {}", bob.token());
    ensure(bob.token() > hers, "a new holder has a greater token")?;
    let stock = product.stock(bob.token()).await?.ok_or("who came last may read")?;
    println!("   bob reads its stock: {stock}");

    wake.send(())?;
    let written = alice.join().map_err(|_| "alice's thread panicked")??;
    println!("   alice wakes up, and sells one: {}", if written { "done" } else { "refused" });
    ensure(!written, "an older token is refused")?;

    ensure(product.set_stock(stock - 1, bob.token()).await?, "who came last may write")?;
    let left = product.stock(bob.token()).await?;
    println!("   bob sells one: {} are left", left.unwrap_or_default());
    ensure(left == Some(4), "one was sold, and one is counted")?;

    bob.release().await?;
    product.remove().await?;
    module.close(Duration::from_secs(1)).await?;
    Ok(())
}

/// A holder that is paused between its last look at the lock and its write.
struct Paused {
    url: String,
    key: String,
    holds: oneshot::Sender<FencingToken>,
    sleeps: Receiver<()>,
}

impl Paused {
    /// Answers whether the late write was carried out.
    fn run<P: Product>(self) -> Result<bool> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.write_too_late::<P>())
    }

    async fn write_too_late<P: Product>(self) -> Result<bool> {
        let module = LockingModule::new(LockingConfig::new().with_provider(P::locks())).await?;
        let product = P::open(&self.url, &self.key).await?;
        let guard = module.lock(self.key).lease(LEASE).await?;
        let stock = product.stock(guard.token()).await?.ok_or("nobody came later")?;

        guard.check()?; // Held: what follows is the write. But then ...
        let _ = self.holds.send(guard.token());
        self.sleeps.recv()?; // ... nothing runs here, the renewal of the guard neither.
        let written = product.set_stock(stock - 1, guard.token()).await?;

        let late = guard.release().await;
        ensure(matches!(late, Err(Error::Lost { .. })), "the lock tells her, but too late")?;
        module.close(Duration::from_secs(1)).await?;
        Ok(written)
    }
}

fn ensure(holds: bool, expectation: &str) -> Result {
    if holds { Ok(()) } else { Err(format!("expected: {expectation}").into()) }
}
