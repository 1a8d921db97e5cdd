use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use locking::{FencingToken, LockingModule};
use tokio::time::sleep;

/// What the steps work on.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) module: LockingModule,
    /// The step in which the process dies.
    dies_in: Option<String>,
    accounts: Mutex<HashMap<String, Account>>,
}

/// The payment of an order. It remembers the greatest token that it has seen.
#[derive(Clone, Debug)]
struct Account {
    /// By which run.
    paid_by: Option<String>,
    last: FencingToken,
}

impl Shop {
    pub(crate) fn new(module: LockingModule) -> Self {
        Self { module, dies_in: None, accounts: Mutex::default() }
    }

    /// The same in a process that dies in this step.
    pub(crate) fn dying_in(self, step: Option<String>) -> Self {
        Self { dies_in: step, ..self }
    }

    /// Ends the process as if it had lost power: nothing is cleared up.
    pub(crate) fn may_die(&self, step: &str) {
        if self.dies_in.as_deref() == Some(step) {
            println!(
                "   the process dies in the step `{step}`, before the engine has written down its answer"
            );
            std::process::abort();
        }
    }

    /// Takes the money for this run unless it is taken; answers whether this run took it, now or in an
    /// attempt before. Whoever looks at the account between the looking and the
    /// writing of another one takes it once more: that is what the lock is for.
    pub(crate) async fn pay(
        &self,
        order: &str,
        run: &str,
        token: FencingToken,
    ) -> Result<bool, &'static str> {
        if let Some(payer) = self.account(order).and_then(|account| account.paid_by) {
            return Ok(payer == run);
        }
        sleep(Duration::from_millis(50)).await;
        self.set(order, Account { paid_by: Some(run.to_owned()), last: token })?;
        Ok(true)
    }

    pub(crate) fn pay_back(&self, order: &str, token: FencingToken) -> Result<(), &'static str> {
        self.set(order, Account { paid_by: None, last: token })
    }

    fn account(&self, order: &str) -> Option<Account> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.get(order).cloned()
    }

    fn set(&self, order: &str, account: Account) -> Result<(), &'static str> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.get(order).is_some_and(|before| account.last < before.last) {
            return Err("somebody with a newer lock was here");
        }
        accounts.insert(order.to_owned(), account);
        Ok(())
    }
}
