//! Ten keys in one call, next to one.

use locking_core::LockingModule;

use super::bare::EXPIRY;
use crate::keys;
use crate::measure::{Variant, Work};
use crate::rounds::{Group, ROUND, Target, Workers};

const ONE: &str = "one key";
const TEN: &str = "ten keys";

pub(super) fn group(module: &LockingModule) -> Group {
    let calls = |count| Calls { module: module.clone(), keys: keys(count) };
    Group {
        title: "several keys in one call, owner and expiry",
        workers: Workers::Tasks(1),
        round: ROUND,
        variants: vec![Variant::new(TEN, calls(10)), Variant::new(ONE, calls(1))],
        floors: &[ONE],
        targets: vec![Target { variant: TEN, floors: &[ONE], ratio: 0.7 }],
        rounds: Vec::new(),
    }
}

struct Calls {
    module: LockingModule,
    keys: Vec<String>,
}

impl Work for Calls {
    const BATCH: u64 = 1;

    async fn once(&self, _: usize) {
        let acquired = self.module.acquire(&self.keys).owner("user_000").expire(EXPIRY);
        acquired.await.expect("nobody else wants them");
        let released = self.module.release(&self.keys).owner("user_000").await;
        assert!(released.expect("the provider is open"));
    }
}
