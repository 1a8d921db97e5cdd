//! What connects the steps with steno.

use std::sync::Arc;

use locking::LockingModule;
use locking::workflow::{AcquireLockStep, WorkflowRun};
use serde::de::DeserializeOwned;
use steno::{
    ActionRegistry, Dag, SagaDag, SagaId, SagaResult, SagaResultOk, SagaType, SecClient, SecStore,
};

use crate::Result;
use crate::journal::Recorded;
use crate::shop::Shop;
use crate::steps::{Input, registry};

/// The kind of sagas that are run here: their steps find the shop as their context.
#[derive(Debug)]
pub(crate) struct Orders;

impl SagaType for Orders {
    type ExecContextType = Shop;
}

pub(crate) struct Engine {
    sagas: SecClient,
    steps: Arc<ActionRegistry<Orders>>,
    shop: Arc<Shop>,
}

impl Engine {
    /// An engine that writes down in `store` what was done.
    pub(crate) fn new(store: impl SecStore + 'static, shop: Shop) -> Self {
        let silent = slog::Logger::root(slog::Discard, slog::o!());
        let sagas = steno::sec(silent, Arc::new(store));
        Self { sagas, steps: Arc::new(registry()), shop: Arc::new(shop) }
    }

    pub(crate) fn module(&self) -> &LockingModule {
        &self.shop.module
    }

    /// Runs a workflow that charges an order. The run has the id that the saga has.
    pub(crate) async fn run(&self, steps: Dag, order: &str, lock: AcquireLockStep) -> Result<Done> {
        let id = SagaId::new_v4();
        let run = WorkflowRun::new(id.to_string())?;
        let input = serde_json::to_value(Input { run, order: order.to_owned(), lock })?;
        let saga = Arc::new(SagaDag::new(steps, input));
        let (shop, steps) = (Arc::clone(&self.shop), Arc::clone(&self.steps));
        let end = self.sagas.saga_create(id, shop, saga, steps).await?;
        self.sagas.saga_start(id).await?;
        Done::of(end.await)
    }

    /// Goes on with what a process that died had begun.
    pub(crate) async fn resume(&self, recorded: Recorded) -> Result<Done> {
        let Recorded { id, dag, events } = recorded;
        let (shop, steps) = (Arc::clone(&self.shop), Arc::clone(&self.steps));
        let end = self.sagas.saga_resume(id, shop, dag, steps, events).await?;
        self.sagas.saga_start(id).await?;
        Done::of(end.await)
    }
}

/// A workflow that came to its end.
#[derive(Debug)]
pub(crate) struct Done(SagaResultOk);

impl Done {
    fn of(result: SagaResult) -> Result<Self> {
        match result.kind {
            Ok(done) => Ok(Self(done)),
            Err(failed) => {
                let undone = if failed.undo_failure.is_some() { "not all" } else { "all" };
                let step = failed.error_node_name.as_ref();
                let why = failed.error_source.convert::<String>()?;
                Err(format!("step `{step}` failed: {why}; {undone} steps before it were undone")
                    .into())
            }
        }
    }

    /// What a step answered.
    pub(crate) fn output<
        T: std::fmt::Debug + serde::Serialize + DeserializeOwned + Send + Sync + 'static,
    >(
        &self,
        step: &str,
    ) -> Result<T> {
        Ok(self.0.lookup_node_output(step)?)
    }
}
