//! All tasks want one key, for a job that does nothing: what handing it on costs.

use std::rc::Rc;
use std::time::Duration;

use locking_core::LockingModule;

use super::server::Server;
use crate::Result;
use crate::measure::{Variant, Work};
use crate::rounds::{Group, Target, Workers};
use crate::server::figure::{Bound, Figure};
use crate::server::processes::Processes;
use crate::server::turns::Order;

const KEY: &str = "prod_one";
const SHARED: &str = "execute";
const APART: &str = "a client each";
const LEASES: &str = "acquire with a wait + release";
/// Far more than any turn takes to come.
const PATIENCE: Duration = Duration::from_secs(60);
const ROUND: Duration = Duration::from_millis(200);

/// One client for all, so that it can pass the key on between its tasks, next to the same where it can't: leases are
/// never passed on, so the tasks that want one stand in line in the process, and each turn goes to the server. And
/// next to a client for each: to the server those are as many processes, and every hand-over goes through it.
pub(super) async fn group(server: &Server, module: &LockingModule, tasks: usize) -> Result<Group> {
    let mut apart = Vec::new();
    for _ in 0..tasks {
        apart.push(server.module().await?);
    }
    Ok(Group {
        title: "one key for all, one process",
        workers: Workers::Tasks(tasks),
        round: ROUND,
        variants: vec![
            Variant::new(SHARED, Execute(vec![module.clone()])),
            Variant::new(LEASES, Acquire(module.clone())),
            Variant::new(APART, Execute(apart)),
        ],
        floors: &[LEASES, APART],
        targets: [&[LEASES], &[APART]]
            .map(|floors| Target { variant: SHARED, floors, ratio: 25.0 })
            .into(),
        rounds: Vec::new(),
    })
}

/// Two processes with as many tasks each.
pub(super) fn two_processes(processes: &Rc<Processes>, tasks: usize) -> (Group, Vec<Figure>) {
    let share = Figure::new(
        "one key for all, two processes: share of the one that gets less",
        Bound::AtLeast(0.4),
    );
    let (processes, shares) = (Rc::clone(processes), share.samples());
    let measure = move |_: &_, count, length| {
        let order = Order::Execute { tasks, section: Duration::ZERO, length };
        let counted = processes.all_of(count, |_| order.clone());
        let total: u64 = counted.iter().map(|counted| counted.in_time).sum();
        let least = counted.iter().map(|counted| counted.in_time).min().unwrap_or(0);
        shares.borrow_mut().push(least as f64 / total as f64);
        total as f64 / length.as_secs_f64()
    };
    let group = Group {
        title: "one key for all, 50 tasks each",
        workers: Workers::Processes(2),
        round: ROUND,
        variants: vec![Variant::measured(SHARED, measure)],
        floors: &[],
        targets: Vec::new(),
        rounds: Vec::new(),
    };
    (group, vec![share])
}

/// Over one module, or over one for each task.
struct Execute(Vec<LockingModule>);

impl Work for Execute {
    const BATCH: u64 = 1;

    async fn once(&self, task: usize) {
        let module = &self.0[task % self.0.len()];
        let done = module.execute(KEY, |_| async {}).timeout(PATIENCE).await;
        done.expect("its turn comes");
    }
}

struct Acquire(LockingModule);

impl Work for Acquire {
    const BATCH: u64 = 1;

    async fn once(&self, _: usize) {
        let lease = self.0.acquire(KEY).wait(PATIENCE).await.expect("its turn comes");
        self.0.release_lease(&lease).await.expect("it was held");
    }
}
