//! Four processes sell the same stock: without a lock, and with one on a server, Redis or PostgreSQL.
//!
//! ```text
//! LOCKING_REDIS_URL=redis://127.0.0.1:6379 cargo run --package inventory-example --example inventory
//! LOCKING_POSTGRES_URL=postgres://me@127.0.0.1/shop cargo run --package inventory-example --example inventory
//! ```
//!
//! In the database it makes a schema of its own, `inventory`.
//!
//! The stock is a number in a file. Selling an item reads it, takes the payment, and writes it back:
//! whoever reads between the reading and the writing of another process sells the same item once more.
//!
//! 1. Without a lock, the four sell more than there is.
//! 2. With `execute`, exactly as many as there are; the processes take turns.
//!
//! Each part checks what it shows; if one comes out otherwise, the program ends with an error.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use locking::{LockingConfig, LockingModule, ProviderConfig};
use tokio::process::Command;
use tokio::time::sleep;

const PROCESSES: usize = 4;
const ITEMS: usize = 40;
const PAYMENT: Duration = Duration::from_millis(2);

/// Tells a process that it is a shop, and how it sells.
const SHOP: &str = "INVENTORY_SHOP";

type Result<T = ()> = std::result::Result<T, Box<dyn StdError>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result {
    match std::env::var(SHOP) {
        Ok(how) => shop(&how).await,
        Err(_) => warehouse().await,
    }
}

/// Opens the shops, and counts what they sold.
async fn warehouse() -> Result {
    let stock = std::env::temp_dir().join(format!("inventory-{}", std::process::id()));

    println!("{PROCESSES} processes sell {ITEMS} items, without a lock:");
    let sold = shops(&stock, "without").await?;
    println!("  sold {sold} of {ITEMS}");
    assert!(sold > ITEMS, "somebody read between another's reading and writing");

    println!("and with a lock:");
    let sold = shops(&stock, "with").await?;
    println!("  sold {sold} of {ITEMS}");
    assert_eq!(sold, ITEMS, "one at a time");

    std::fs::remove_file(stock)?;
    Ok(())
}

async fn shops(stock: &Path, how: &str) -> Result<usize> {
    write(stock, ITEMS)?;
    let mut running = Vec::new();
    for _ in 0..PROCESSES {
        let mut shop = Command::new(std::env::current_exe()?);
        shop.arg(stock).env(SHOP, how).stdout(Stdio::piped()).kill_on_drop(true);
        running.push(shop.spawn()?);
    }
    let mut sold = 0;
    for shop in running {
        let done = shop.wait_with_output().await?;
        if !done.status.success() {
            return Err(
                "a shop failed; is there a server at LOCKING_REDIS_URL, or LOCKING_POSTGRES_URL?"
                    .into(),
            );
        }
        let its: usize = String::from_utf8(done.stdout)?.trim().parse()?;
        println!("  a process sold {its}");
        sold += its;
    }
    Ok(sold)
}

/// Sells until nothing is left, and says how much it sold.
async fn shop(how: &str) -> Result {
    let stock = PathBuf::from(std::env::args().nth(1).ok_or("which stock?")?);
    let mut sold = 0;
    if how == "without" {
        while sell_one(&stock).await? {
            sold += 1;
        }
    } else {
        let module = LockingModule::new(LockingConfig::new().with_provider(server())).await?;
        // One more line, and the key is held by one process at a time.
        while module.execute("stock", |_lock| sell_one_of(&stock)).await? {
            sold += 1;
        }
        module.close(Duration::from_secs(1)).await?;
    }
    println!("{sold}");
    Ok(())
}

/// What stores the locks. Nothing else depends on it.
fn server() -> ProviderConfig {
    if std::env::var_os("LOCKING_POSTGRES_URL").is_some() {
        ProviderConfig::new("locking-postgres")
            .with_option("url", "${LOCKING_POSTGRES_URL}")
            .with_option("schema", "inventory")
            .with_option("migrate_at_start", true)
    } else {
        ProviderConfig::new("locking-redis")
            .with_option("redis_url", "${LOCKING_REDIS_URL:-redis://127.0.0.1:6379}")
    }
}

/// The same, for a job: what goes wrong in it ends the process.
async fn sell_one_of(stock: &Path) -> bool {
    sell_one(stock).await.expect("the stock can be read and written")
}

async fn sell_one(stock: &Path) -> Result<bool> {
    let left: usize = std::fs::read_to_string(stock)?.trim().parse()?;
    if left == 0 {
        return Ok(false);
    }
    sleep(PAYMENT).await;
    write(stock, left - 1)?;
    Ok(true)
}

/// Written as a whole: nobody reads half a number.
fn write(stock: &Path, left: usize) -> Result {
    let new = stock.with_extension(std::process::id().to_string());
    std::fs::write(&new, left.to_string())?;
    Ok(std::fs::rename(new, stock)?)
}
