use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::post;
use locking::LockingModule;
use tokio::time::sleep;

use crate::answer::Refusal;

/// How long a payment takes.
pub(crate) const PAYMENT: Duration = Duration::from_millis(300);
/// How long a request waits for another one on the same order: the customer is waiting as well.
const PATIENCE: Duration = Duration::from_millis(50);

pub(crate) fn router(shop: Shop) -> Router {
    Router::new().route("/orders/{id}/pay", post(pay)).with_state(shop)
}

/// Pays an order, unless it is paid.
async fn pay(State(shop): State<Shop>, Path(order): Path<String>) -> Result<&'static str, Refusal> {
    let payment = async move {
        let key = format!("order/{order}");
        // Whether it is paid is looked up under the lock, not before it.
        let job = shop.module.execute(key, |_lock| shop.pay_once(&order)).timeout(PATIENCE);
        job.await
    };
    // On a task of its own: when the customer hangs up, this handler is dropped, but not the payment.
    Ok(tokio::spawn(payment).await.map_err(Refusal::panicked)??)
}

/// Where orders are paid. Think of a payment provider and a database.
#[derive(Clone)]
pub(crate) struct Shop {
    module: LockingModule,
    paid: Arc<Mutex<BTreeSet<String>>>,
}

impl Shop {
    pub(crate) fn new(module: LockingModule) -> Self {
        Self { module, paid: Arc::default() }
    }

    /// Looks, pays, writes it down: in between, nobody else may look.
    async fn pay_once(&self, order: &str) -> &'static str {
        if self.is_paid(order) {
            return "already paid";
        }
        sleep(PAYMENT).await;
        self.paid.lock().unwrap_or_else(PoisonError::into_inner).insert(order.to_owned());
        "paid"
    }

    fn is_paid(&self, order: &str) -> bool {
        self.paid.lock().unwrap_or_else(PoisonError::into_inner).contains(order)
    }
}
