//! What comes to a lease as it ends: in time or late, never a bit of both.

use std::time::Duration;

use locking_core::{Error, Lease, LockingModule};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::faults::{Direction, Fault};
use crate::fixture::Fixture;
use crate::support::{LONG, always, ms, within};

/// How long the leases are that somebody comes to as they end.
const LEASE: Duration = ms(300);

/// Longer than anybody waits for a key that was prolonged, a machine that stands still included.
const PROLONGED: Duration = Duration::from_secs(600);

/// What a holder does at the end of its lease.
#[derive(Clone, Copy)]
enum Does {
    Release,
    GiveBack,
    Extend,
    Reenter,
}

pub(crate) async fn a_release_as_the_lease_ends_does_not_free_the_next_holder(f: Fixture) {
    at_the_end(&f, Does::Release).await;
}

pub(crate) async fn a_lease_given_back_as_it_ends_does_not_free_the_next_holder(f: Fixture) {
    at_the_end(&f, Does::GiveBack).await;
}

pub(crate) async fn a_lease_extended_as_it_ends_is_lost_or_keeps_its_keys(f: Fixture) {
    at_the_end(&f, Does::Extend).await;
}

pub(crate) async fn a_lease_reentered_as_it_ends_is_lost_or_keeps_its_keys(f: Fixture) {
    at_the_end(&f, Does::Reenter).await;
}

pub(crate) async fn what_comes_slowly_as_the_lease_ends_is_in_time_or_late(f: Fixture) {
    let (proxy, mut racing) = (f.proxy().await, JoinSet::new());
    let slow = LockingModule::with_provider(f.client_at(proxy.address()).await);
    for direction in [Direction::ToServer, Direction::ToClient] {
        proxy.inject(Fault::Delay { direction, by: ms(50) });
    }
    // Half a way after it was asked for, the lease begins: what is asked here comes shortly before its end, and
    // what would be asked upon the answer to that comes well after it.
    for (at, does) in
        [Does::Release, Does::GiveBack, Does::Extend, Does::Reenter].iter().enumerate()
    {
        for n in 0..6 {
            let key = f.key(&format!("{at}/{n}"));
            let race = Race { module: slow.clone(), next: f.b.clone(), key, waits: false };
            racing.spawn(race.run(*does, LEASE - ms(50 - 5 * n)));
        }
    }
    racing.join_all().await;
}

/// A store that looks first and acts then is wrong in the moment between: many come, at many moments.
async fn at_the_end(f: &Fixture, does: Does) {
    let mut racing = JoinSet::new();
    for n in 0..f.scaled(15_000) {
        let (module, next, key) = (f.a.clone(), f.b.clone(), f.key(&n.to_string()));
        let race = Race { module, next, key, waits: n % 2 == 0 };
        let early = Duration::from_micros(fastrand::u64(..40_000));
        racing.spawn(race.run(does, LEASE + ms(20) - early));
        // Not all at once: the store's answers come in time.
        sleep(ms(4)).await;
    }
    racing.join_all().await;
}

/// A holder that comes as its lease ends, against somebody who wants the key.
struct Race {
    module: LockingModule,
    next: LockingModule,
    key: String,
    /// Whether that somebody waits, or asks until it is free.
    waits: bool,
}

impl Race {
    /// `after`: when the holder comes, from the moment at which it asked for its lease.
    async fn run(self, does: Does, after: Duration) {
        let Self { module, next, key, waits } = self;
        let asked = Instant::now();
        let lease = module.acquire(&key).owner("old").expire(LEASE).await.expect("free");
        let taking = tokio::spawn(take(next.clone(), key.clone(), asked + LEASE, waits));
        sleep_until(asked + after).await;
        if let Some(held) = done(does, &module, &lease, &key).await {
            let again = module.extend(&held, PROLONGED).await;
            always!(!matches!(again, Err(Error::Lost { .. })), "`{key}` had been prolonged");
            again.expect("answered");
            always!(!taking.is_finished(), "two holders of `{key}`");
            assert!(module.release(&key).owner("old").await.expect("answered"), "held");
        }
        let taken = within(LONG, "the next holder", taking).await.expect("no panic");
        always!(taken.token() > lease.token(), "{taken:?} after {lease:?}");
        next.extend(&taken, LONG).await.expect("what came late was not for this hold");
    }
}

/// Takes a key whose lease ends at that moment: waits for it, or asks until it is free.
async fn take(module: LockingModule, key: String, end: Instant, waits: bool) -> Lease {
    let acquire = || module.acquire(&key).owner("next").expire(LONG);
    if waits {
        return acquire().wait(LONG * 2).await.expect("granted");
    }
    sleep_until(end - ms(3)).await;
    loop {
        match acquire().await {
            Ok(lease) => return lease,
            Err(Error::Held { .. }) => sleep(ms(1)).await,
            Err(error) => panic!("a key can be asked for: {error:?}"),
        }
    }
}

/// The lease that its owner has afterwards, if the answer says that there is one.
async fn done(does: Does, module: &LockingModule, lease: &Lease, key: &str) -> Option<Lease> {
    let answer = match does {
        Does::Release => module.release(key).owner("old").await.map(|_| None),
        Does::GiveBack => module.release_lease(lease).await.map(|_| None),
        Does::Extend => module.extend(lease, PROLONGED).await.map(|()| Some(lease.clone())),
        Does::Reenter => module.acquire(key).owner("old").expire(PROLONGED).await.map(Some),
    };
    match answer {
        Ok(held) => held,
        Err(Error::Lost { .. } | Error::Held { .. }) => None,
        Err(error) => panic!("answered: {error:?}"),
    }
}
