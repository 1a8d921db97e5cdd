//! Several providers in one program: each call goes to the default, or to the one that it names.
//!
//! ```text
//! cargo run --package several-providers --example several-providers
//! LOCKING_REDIS_URL=redis://127.0.0.1:6379 cargo run --package several-providers --example several-providers
//! LOCKING_POSTGRES_URL=postgres://me@127.0.0.1/shop cargo run --package several-providers --example several-providers
//! ```
//!
//! Two providers live in this process's memory, with ids of their own. With a variable that names a server
//! there is a third one: the locks that other processes have to see go there. In the database it makes a
//! schema of its own, `several_providers`.
//!
//! 1. Which providers there are, what each promises, and which is the default.
//! 2. The same key at two providers is two locks. A name may have the prefix `lp_`, as in the original module.
//! 3. A lease knows its provider: extending and releasing it goes there by itself.
//! 4. `list` and `release_all` ask one provider.
//! 5. A name that isn't configured is an error, which lists those that are.
//!
//! Each part checks what it shows; if one comes out otherwise, the program ends with an error.

use std::env;
use std::error::Error as StdError;
use std::time::Duration;

use locking::{Capability, Error, LockingConfig, LockingModule, ProviderConfig};

type Result<T = ()> = std::result::Result<T, Box<dyn StdError + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result {
    let module = LockingModule::new(configuration()).await?;

    who_is_there(&module)?;
    two_locks_of_one_name(&module).await?;
    leases_know_their_provider(&module).await?;
    one_provider_is_asked(&module).await?;
    an_unknown_name(&module).await?;

    module.close(Duration::from_secs(1)).await?;
    Ok(())
}

/// What a file would say; `docs/configuration.md` has it as one.
fn configuration() -> LockingConfig {
    let carts = ProviderConfig::new("locking-memory").with_id("carts").as_default();
    let reports = ProviderConfig::new("locking-memory")
        .with_id("reports")
        .with_option("wait_locking_timeout", "2m");
    let mut config = LockingConfig::new().with_provider(carts).with_provider(reports);
    if env::var_os("LOCKING_REDIS_URL").is_some() {
        let redis = ProviderConfig::new("locking-redis");
        config = config.with_provider(redis.with_option("redis_url", "${LOCKING_REDIS_URL}"));
    }
    if env::var_os("LOCKING_POSTGRES_URL").is_some() {
        let postgres = ProviderConfig::new("locking-postgres")
            .with_option("url", "${LOCKING_POSTGRES_URL}")
            .with_option("schema", "several_providers")
            .with_option("migrate_at_start", true);
        config = config.with_provider(postgres);
    }
    config
}

fn who_is_there(module: &LockingModule) -> Result {
    println!("1. Who is there");
    let providers = module.providers();
    for id in &providers {
        let claims = module.capabilities_of(id.as_str())?;
        println!("   {id}: {claims}");
        let in_memory = ["carts", "reports"].contains(&id.as_str());
        let shared = claims.has(Capability::SharedBetweenProcesses);
        ensure(shared != in_memory, "only a server is shared between processes")?;
    }
    println!("   the default is {}", providers[0]);
    ensure(providers[0].as_str() == "carts", "the flagged entry is the default")
}

async fn two_locks_of_one_name(module: &LockingModule) -> Result {
    println!("2. The same key at two providers");
    let here = module.lock("monthly").await?;
    let there = module.lock("monthly").provider("reports").await?;
    println!("   both hold `monthly`: {} and {}", here.lease().provider, there.lease().provider);

    // The prefix says nothing; the name behind it is what counts.
    let held = module.execute("monthly", |_lock| async {}).provider("lp_reports");
    let held = held.timeout(Duration::ZERO).await;
    ensure(matches!(held, Err(Error::Held { .. })), "`lp_reports` is `reports`")?;
    println!("   `lp_reports` is `reports`, and refuses it");
    there.release().await?;
    Ok(here.release().await?)
}

async fn leases_know_their_provider(module: &LockingModule) -> Result {
    println!("3. A lease knows its provider");
    let minute = Duration::from_secs(60);
    for provider in module.providers() {
        let key = format!("lease_{}", std::process::id());
        let lease = module.acquire(&key).provider(provider.as_str()).expire(minute).await?;
        module.extend(&lease, minute * 2).await?;
        ensure(module.release_lease(&lease).await?, "it is released where it was taken")?;
        println!("   {provider}: taken, extended and released");
    }
    Ok(())
}

async fn one_provider_is_asked(module: &LockingModule) -> Result {
    println!("4. `list` asks one provider");
    let monthly = module.acquire("monthly").owner("anna").provider("reports").await?;
    let (carts, reports) = (module.list().await?, module.list().provider("reports").await?);
    println!("   carts has {} keys, reports has {}", carts.len(), reports.len());
    ensure(carts.is_empty() && reports.len() == 1, "each tells of its own")?;
    ensure(module.release_lease(&monthly).await?, "anna still held it")
}

async fn an_unknown_name(module: &LockingModule) -> Result {
    println!("5. A name that isn't configured");
    let refused = module.acquire("monthly").provider("lp_report").await;
    let Err(refused @ Error::Configuration(_)) = refused else {
        return Err(format!("expected a configuration error, but: {refused:?}").into());
    };
    println!("   {refused}");
    Ok(())
}

fn ensure(holds: bool, expectation: &str) -> Result {
    if holds { Ok(()) } else { Err(format!("expected: {expectation}").into()) }
}
