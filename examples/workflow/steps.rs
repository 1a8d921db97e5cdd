//! The steps of the workflows, as the engine calls them.

use std::time::Duration;

use locking::workflow::{AcquireLockStep, ReleaseLockStep, StepLease, WorkflowRun};
use serde::{Deserialize, Serialize};
use steno::{
    ActionContext, ActionError, ActionFunc, ActionName, ActionRegistry, Dag, DagBuilder, Node,
    SagaName, new_action_noop_undo,
};
use tokio::time::{sleep, timeout};

use crate::engine::Orders;

const TTL: Duration = Duration::from_secs(30);

/// What a workflow begins with: plain data, which the engine keeps.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Input {
    pub(crate) run: WorkflowRun,
    pub(crate) order: String,
    pub(crate) lock: AcquireLockStep,
}

type Context = ActionContext<Orders>;
type Answer<T> = Result<T, ActionError>;

/// The steps by their names, with what undoes them.
pub(crate) fn registry() -> ActionRegistry<Orders> {
    let mut steps = ActionRegistry::new();
    steps.register(ActionFunc::new_action("lock", lock, undo_lock));
    steps.register(new_action_noop_undo("unlock", unlock));
    steps.register(ActionFunc::new_action("pay", pay, pay_back));
    steps.register(new_action_noop_undo("send", send));
    steps.register(new_action_noop_undo("prepare nested", prepare_nested));
    steps.register(new_action_noop_undo("reserve", reserve));
    steps.register(new_action_noop_undo("look", look));
    steps
}

/// A workflow of these steps, one after the other; each has the name of its answer before it.
pub(crate) fn workflow(name: &str, steps: &[(&str, &str)]) -> Dag {
    let mut workflow = DagBuilder::new(SagaName::new(name));
    append(&mut workflow, steps);
    workflow.build().expect("each answer has a name of its own")
}

pub(crate) fn append(workflow: &mut DagBuilder, steps: &[(&str, &str)]) {
    let registry = registry();
    for &(answer, step) in steps {
        let action = registry.get(&ActionName::new(step)).expect("a registered step");
        workflow.append(Node::action(answer, step, &*action));
    }
}

/// Takes the lock. What it answers is written down by the engine, for the steps below.
async fn lock(context: Context) -> Answer<StepLease> {
    let (shop, Input { run, lock, .. }) = (context.user_data(), context.saga_params()?);
    let lease = lock.invoke(&shop.module, &run).await.map_err(failed)?;
    for key in lease.lease().iter().flat_map(|lease| lease.keys()) {
        let how = if key.taken { "its own" } else { "its parent's" };
        println!("   run {}: holds {} with token {}, {how}", short(&run), key.key, key.token);
    }
    shop.may_die("lock");
    Ok(lease)
}

/// A saga whose undoing fails is stuck. So it is tried until the store answers, or until the lease has
/// ended by itself: nothing here extends it to more than its time.
async fn undo_lock(context: Context) -> Result<(), anyhow::Error> {
    let (shop, lease): (_, StepLease) = (context.user_data(), context.lookup("lease")?);
    let compensated = async {
        loop {
            match lease.compensate(&shop.module).await {
                Err(error) if error.is_retryable() => sleep(Duration::from_millis(300)).await,
                answer => break answer,
            }
        }
    };
    match timeout(TTL, compensated).await {
        Ok(given_back) => println!("   the lock is undone; was it still held? {}", given_back?),
        Err(_) => println!("   the lock has ended by itself"),
    }
    Ok(())
}

async fn unlock(context: Context) -> Answer<bool> {
    let (shop, Input { run, .. }) = (context.user_data(), context.saga_params()?);
    let release = ReleaseLockStep::new(context.lookup("lease")?);
    let released = release.invoke(&shop.module, &run).await.map_err(failed)?;
    println!("   run {}: unlocks what is its own; was it still held? {released}", short(&run));
    Ok(released)
}

/// Answers whether it paid; if not, the order was paid before.
async fn pay(context: Context) -> Answer<bool> {
    let (shop, Input { run, order, .. }) = (context.user_data(), context.saga_params()?);
    let lease: StepLease = context.lookup("lease")?;
    shop.may_die("pay");
    // Asks for more time, and so learns whether the lock is still there: days may have passed since the
    // step before.
    lease.extend(&shop.module, TTL).await.map_err(failed)?;
    let token = lease.token_of(&order).ok_or_else(|| failed("the order isn't locked"))?;
    let paid = shop.pay(&order, run.id(), token).await.map_err(failed)?;
    let what = if paid { "pays" } else { "has nothing to pay for" };
    println!("   run {}: {what} {order}, with token {token}", short(&run));
    Ok(paid)
}

async fn pay_back(context: Context) -> Result<(), anyhow::Error> {
    let (shop, Input { order, .. }) = (context.user_data(), context.saga_params()?);
    let lease: StepLease = context.lookup("lease")?;
    if let (true, Some(token)) = (context.lookup("paid")?, lease.token_of(&order)) {
        shop.pay_back(&order, token).map_err(anyhow::Error::msg)?;
        println!("   {order} is paid back");
    }
    Ok(())
}

async fn send(_context: Context) -> Answer<()> {
    Err(failed("nobody sends parcels today"))
}

/// What the nested workflow begins with. Its run knows what this one holds.
async fn prepare_nested(context: Context) -> Answer<Input> {
    let (lease, Input { run, order, .. }) = (context.lookup("lease")?, context.saga_params()?);
    let lock = AcquireLockStep::new([&*order, "stock_1"], TTL).map_err(failed)?;
    Ok(Input { run: run.nested([&lease]), order, lock })
}

async fn reserve(context: Context) -> Answer<()> {
    let Input { run, order, .. } = context.saga_params()?;
    println!("   run {}, nested: reserves an item of stock_1 for {order}", short(&run));
    Ok(())
}

/// Which of the keys of this workflow, and of the one nested in it, are held.
async fn look(context: Context) -> Answer<Vec<String>> {
    let (shop, Input { order, .. }) = (context.user_data(), context.saga_params()?);
    let mut held = Vec::new();
    for key in [order, "stock_1".to_owned()] {
        if shop.module.inspect(&key).await.map_err(failed)?.is_some() {
            held.push(key);
        }
    }
    println!("   after the nested workflow, held: {held:?}");
    Ok(held)
}

/// The engine keeps errors as data.
fn failed(error: impl ToString) -> ActionError {
    ActionError::action_failed(error.to_string())
}

/// Enough of a run's id to tell runs apart.
fn short(run: &WorkflowRun) -> &str {
    &run.id()[..8]
}
