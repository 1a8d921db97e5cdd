//! Locks in the steps of workflows, run by steno, an engine for sagas.
//!
//! ```text
//! cargo run --package workflow --example workflow
//! LOCKING_REDIS_URL=redis://127.0.0.1:6379 cargo run --package workflow --example workflow
//! LOCKING_POSTGRES_URL=postgres://me@127.0.0.1/shop cargo run --package workflow --example workflow
//! ```
//!
//! A workflow charges an order: it locks the order, takes the money, and unlocks it. In `steps.rs` are
//! the steps, in `engine.rs` is what connects them with the engine.
//!
//! 1. Two workflows charge the same order at once: one pays, the other waits and finds it paid.
//! 2. A step after the lock fails: compensation gives back that lock, and no other.
//! 3. A nested workflow enters its parent's lock, and leaves it to the parent.
//! 4. The process dies between two steps, twice: started again it goes on with its lock. That needs
//!    locks which outlive a process, so a server: in a database it makes a schema of its own, `workflow`.
//!
//! Each part checks what it shows; if one comes out otherwise, the program ends with an error.

mod crash;
mod engine;
mod journal;
mod shop;
mod steps;

use std::time::Duration;

use locking::workflow::AcquireLockStep;
use locking::{LockingConfig, LockingModule};
use steno::{Dag, DagBuilder, InMemorySecStore, Node, SagaName};

use crate::engine::Engine;
use crate::shop::Shop;
use crate::steps::{append, workflow};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result {
    if crash::is_worker() {
        return crash::work().await;
    }
    let module = LockingModule::new(LockingConfig::new()).await?;
    let engine = Engine::new(InMemorySecStore::new(), Shop::new(module.clone()));
    two_at_once(&engine).await?;
    a_step_fails(&engine).await?;
    a_nested_workflow(&engine).await?;
    crash::a_process_dies().await?;
    module.close(Duration::from_secs(1)).await?;
    Ok(())
}

/// How an order is locked: for half a minute at most, after waiting for two seconds at most.
fn lock_on(order: &str) -> Result<AcquireLockStep> {
    let lock = AcquireLockStep::new(order, Duration::from_secs(30))?;
    Ok(lock.with_timeout(Duration::from_secs(2)))
}

fn charge() -> Dag {
    workflow("charge", &[("lease", "lock"), ("paid", "pay"), ("unlocked", "unlock")])
}

async fn two_at_once(engine: &Engine) -> Result {
    println!("1. Two workflows charge order_1 at once:");
    let (one, two) = (lock_on("order_1")?, lock_on("order_1")?);
    let both =
        tokio::join!(engine.run(charge(), "order_1", one), engine.run(charge(), "order_1", two));
    let paid = [both.0?.output::<bool>("paid")?, both.1?.output("paid")?];
    assert!(paid.contains(&true) && paid.contains(&false), "one of them found it paid");
    Ok(())
}

async fn a_step_fails(engine: &Engine) -> Result {
    println!("2. A workflow locks order_2 and order_3 and fails; order_4 is another one's:");
    let module = engine.module();
    let another = module.acquire("order_4").owner("another").await?;

    let steps = [("lease", "lock"), ("paid", "pay"), ("sent", "send"), ("unlocked", "unlock")];
    let lock = AcquireLockStep::new(["order_2", "order_3"], Duration::from_secs(30))?;
    let failed = engine.run(workflow("charge and send", &steps), "order_2", lock).await;
    println!("   the workflow says: {}", failed.expect_err("nobody sends parcels today"));

    for free in ["order_2", "order_3"] {
        assert!(module.inspect(free).await?.is_none(), "given back by compensation");
    }
    assert!(module.release_lease(&another).await?, "nobody else's was given back");
    println!("   order_4 was held all the time; now order_2 is charged by another workflow:");
    // Without waiting: there is nobody to wait for.
    let next = AcquireLockStep::new("order_2", Duration::from_secs(30))?;
    let next = engine.run(charge(), "order_2", next).await?;
    assert!(next.output::<bool>("paid")?, "the first one's payment was undone");
    Ok(())
}

async fn a_nested_workflow(engine: &Engine) -> Result {
    println!("3. A workflow locks order_5; one nested in it locks order_5 and stock_1:");
    let nested = [("lease", "lock"), ("reserved", "reserve"), ("unlocked", "unlock")];
    let mut steps = DagBuilder::new(SagaName::new("reserve and charge"));
    append(&mut steps, &[("lease", "lock"), ("nested input", "prepare nested")]);
    steps.append(Node::subsaga("reserved", workflow("reserve", &nested), "nested input"));
    append(&mut steps, &[("held", "look"), ("paid", "pay"), ("unlocked", "unlock")]);

    let done = engine.run(steps.build()?, "order_5", lock_on("order_5")?).await?;
    let held: Vec<String> = done.output("held")?;
    assert_eq!(held, ["order_5"], "after the nested workflow, before the end of its parent");
    assert!(engine.module().list().await?.is_empty());
    Ok(())
}
