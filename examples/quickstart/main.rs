//! Ten buyers and five items: the problem that a lock solves, and the solution.
//!
//! ```text
//! cargo run --example quickstart
//! ```
//!
//! 1. Without a lock, ten buyers at once are sold more items than there are.
//! 2. With one more line, `execute`, exactly five are sold.
//! 3. A key has an owner: others are refused, the owner is let in again.
//! 4. A lease expires: whoever forgets to release blocks nobody for ever.
//! 5. A call waits for a key, but no longer than it says.
//! 6. A lock can be lost: the job under it is stopped, and its caller is told.
//!
//! Each part checks what it shows; if one comes out otherwise, the program ends with an error.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use locking::{Error, LockingConfig, LockingModule};
use tokio::task::JoinSet;
use tokio::time::sleep;

const BUYERS: usize = 10;
const ITEMS: usize = 5;
const PAYMENT: Duration = Duration::from_millis(20);

type Result<T = ()> = std::result::Result<T, Box<dyn StdError + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result {
    // No provider is configured, so the locks are kept in this process's memory.
    let module = LockingModule::new(LockingConfig::new()).await?;

    without_a_lock().await?;
    with_a_lock(&module).await?;
    owners(&module).await?;
    expiry(&module).await?;
    waiting(&module).await?;
    a_lost_lock(&module).await?;

    module.close(Duration::from_secs(1)).await?;
    Ok(())
}

/// What the buyers fight over. Think of a row in a database.
struct Shop {
    stock: AtomicUsize,
}

impl Shop {
    fn open() -> Arc<Self> {
        Arc::new(Self { stock: AtomicUsize::new(ITEMS) })
    }

    /// Reads the stock, takes the payment, writes the stock. Whoever reads between the reading and
    /// the writing of another sells the same item once more.
    async fn sell_one(&self) -> bool {
        let stock = self.stock.load(Ordering::SeqCst);
        if stock == 0 {
            return false;
        }
        sleep(PAYMENT).await;
        self.stock.store(stock - 1, Ordering::SeqCst);
        true
    }
}

async fn without_a_lock() -> Result {
    title("1. Without a lock");
    let shop = Shop::open();
    let mut buyers = JoinSet::new();
    for _ in 0..BUYERS {
        let shop = Arc::clone(&shop);
        buyers.spawn(async move { shop.sell_one().await });
    }

    let sold = buyers.join_all().await.into_iter().filter(|bought| *bought).count();
    let too_many = sold.saturating_sub(ITEMS);
    say(format!("{BUYERS} buyers, {ITEMS} items: {sold} sold, {too_many} too many"));
    ensure(sold > ITEMS, "the buyers overlap, so more is sold than there is")
}

async fn with_a_lock(module: &LockingModule) -> Result {
    title("2. With `execute`");
    let shop = Shop::open();
    let mut buyers = JoinSet::new();
    for _ in 0..BUYERS {
        let (shop, module) = (Arc::clone(&shop), module.clone());
        // The key is a name that all buyers agree on; the job runs while nobody else holds it.
        buyers.spawn(async move { module.execute("prod_123", |_lock| shop.sell_one()).await });
    }

    let bought: Vec<bool> = buyers.join_all().await.into_iter().collect::<locking::Result<_>>()?;
    let sold = bought.into_iter().filter(|bought| *bought).count();
    say(format!(
        "{BUYERS} buyers, {ITEMS} items: {sold} sold, the others heard that it is sold out"
    ));
    ensure(sold == ITEMS, "one buyer at a time, so exactly the stock is sold")
}

async fn owners(module: &LockingModule) -> Result {
    title("3. A key has an owner");
    let lease = module.acquire("cart_1").owner("alice").await?;
    say(format!("alice holds cart_1, with the token {}", lease.token()));

    let refused = error_of(module.acquire("cart_1").owner("bob").await)?;
    say(format!("bob is refused: {refused}"));
    ensure(matches!(refused, Error::Held { .. }), "a held key is refused at once")?;

    let again = module.acquire("cart_1").owner("alice").await?;
    say("alice may enter again, and keeps her token");
    ensure(again.token() == lease.token(), "a re-entered key keeps its token")?;

    let by_bob = module.release("cart_1").owner("bob").await?;
    let by_alice = module.release("cart_1").owner("alice").await?;
    say(format!("released by bob: {by_bob}, by alice: {by_alice}"));
    ensure(!by_bob && by_alice, "only the owner gives a key back")
}

async fn expiry(module: &LockingModule) -> Result {
    title("4. A lease expires");
    let (started, expires) = (Instant::now(), Duration::from_millis(200));
    let forgotten = module.acquire("cart_2").owner("alice").expire(expires).await?;
    say(format!("alice takes cart_2 for {expires:?}, and forgets about it"));

    let lease = module.acquire("cart_2").owner("bob").wait(Duration::from_secs(2)).await?;
    say(format!("bob, who waited, has it after {} ms", started.elapsed().as_millis()));
    ensure(started.elapsed() >= expires, "nobody has the key before alice's lease is over")?;

    // A token grows with each new holder. What the lock protects should refuse a smaller one.
    let (older, newer) = (forgotten.token(), lease.token());
    say(format!(
        "tokens: alice {older}, bob {newer}: what the lock protects refuses the smaller one"
    ));
    ensure(newer > older, "a new holder has a greater token")?;

    let freed = module.release_lease(&forgotten).await?;
    say(format!("alice releases her old lease after all: {freed}, bob keeps his"));
    ensure(!freed, "a late release frees no successor")?;
    let freed = module.release_lease(&lease).await?;
    say(format!("bob releases his: {freed}"));
    ensure(freed, "bob still holds his lease")
}

async fn waiting(module: &LockingModule) -> Result {
    title("5. Waiting with a timeout");
    // A guard: kept alive in the background, and given back when it is dropped.
    let guard = module.lock("cart_3").await?;
    say("alice holds a guard on cart_3");

    let patience = Duration::from_millis(150);
    let late = module.execute("cart_3", |_lock| async {}).timeout(patience).await;
    let late = error_of(late)?;
    say(format!("bob waits {patience:?}, his job never starts: {late}"));
    ensure(matches!(late, Error::TimedOut { .. }), "a wait ends at its deadline")?;

    guard.release().await?;
    module.execute("cart_3", |_lock| async {}).timeout(patience).await?;
    say("alice releases her guard, and bob's job runs");
    Ok(())
}

async fn a_lost_lock(module: &LockingModule) -> Result {
    title("6. A lost lock");
    let report = async {
        say("a long report runs under the lock report_1");
        sleep(Duration::from_secs(3600)).await;
        say("the report is done"); // Never printed: the job is stopped at its await.
    };
    let operator = async {
        sleep(Duration::from_millis(50)).await;
        module.release_all().including_running().await
    };

    let (report, freed) = tokio::join!(module.execute("report_1", |_lock| report), operator);
    say(format!("an operator frees every lock, what runs included: {} freed", freed?));
    let lost = error_of(report)?;
    say(format!("the job was stopped, and its caller is told: {lost}"));
    ensure(matches!(lost, Error::Lost { .. }), "whoever loses a lock learns it")
}

fn title(text: &str) {
    println!("\n{text}");
}

fn say(text: impl AsRef<str>) {
    println!("   {}", text.as_ref());
}

/// What went wrong; it is an error if nothing did.
fn error_of<T>(result: locking::Result<T>) -> Result<Error> {
    result.err().ok_or_else(|| "an error was expected here".into())
}

fn ensure(holds: bool, expectation: &str) -> Result {
    if holds { Ok(()) } else { Err(format!("expected: {expectation}").into()) }
}
