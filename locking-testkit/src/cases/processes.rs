//! Clients in processes of their own: killed, stopped, and against each other.

use std::time::Duration;

use locking_core::{Error, FencingToken};
use tokio::time::{Instant, sleep};

use super::count_file::CountFile;
use super::expiry::a_long_while;
use crate::fixture::Fixture;
use crate::process::Process;
use crate::support::{
    LONG, SHORT, SOON, a_moment, always, assert_answer, is_free, ms, soon, until_free,
    until_within, within,
};

/// How many holders of one process may go before a waiter of another.
const OVERTAKEN: usize = 16;

pub(crate) async fn processes_exclude_each_other(f: Fixture) {
    let (key, file) = (f.key("k"), CountFile::new(&f));
    let (processes, times) = (4, u32::try_from(f.scaled(5_000).max(50)).expect("a few thousand"));
    let mut counting = Vec::new();
    let mut alive = Vec::new();
    for _ in 0..processes {
        let process = f.process().await;
        counting.push(process.count(&key, file.path(), times));
        alive.push(process);
    }
    for counted in counting {
        within(LONG + ms(20) * times * processes, "every process", counted).await.expect("counted");
    }
    let (counted, all) = (file.read(), u64::from(times * processes));
    always!(counted == all, "{counted} increments of {all} count");
    for process in alive {
        within(LONG, "its end", process.exit()).await;
    }
    until_free(&f.a, &key).await;
}

pub(crate) async fn a_killed_processs_guard_is_free_at_its_leases_end(f: Fixture) {
    let (key, lease, process) = (f.key("k"), ms(1500), f.process().await);
    process.lock(&key, lease, SOON).await.expect("free");
    // It is kept alive as long as the process is.
    sleep(lease + ms(200)).await;
    process.check(&key).await.expect("renewed");
    assert!(!is_free(&f.a, &key).await, "it is held");
    process.kill().await;
    let bound = f.capabilities().takeover().unwrap_or(lease).min(lease) + SOON;
    let next = f.a.lock(&key).timeout(LONG);
    drop(within(bound, "the next holder", next).await.expect("free by then"));
}

pub(crate) async fn a_killed_processs_lease_stays(f: Fixture) {
    let (endless, long, process) = (f.key("endless"), f.key("long"), f.process().await);
    let lease = process.acquire(&endless, Some("o"), None, Duration::ZERO).await.expect("free");
    process.acquire(&long, None, Some(LONG), Duration::ZERO).await.expect("free");
    process.kill().await;
    // Longer than a provider needs to see that a connection is gone.
    sleep(f.capabilities().takeover().unwrap_or_default() + ms(1200)).await;
    for key in [&endless, &long] {
        assert_answer!(f.a.acquire(key).await, Err(Error::Held { .. }), "nobody's process's");
    }
    let again = f.a.acquire(&endless).owner("o").await.expect("its owner re-enters it anywhere");
    assert_eq!(again.token(), lease.token());
    assert!(f.b.release_lease(&lease).await.expect("answered"), "and gives it back anywhere");
}

pub(crate) async fn a_killed_processs_leases_last(f: Fixture) {
    let (process, mut held) = (f.process().await, Vec::new());
    for (name, expiry) in [("endless", None), ("long", Some(20 * LONG))] {
        let key = f.key(name);
        let lease = process.acquire(&key, Some("o"), expiry, Duration::ZERO).await;
        held.push((key, lease.expect("free")));
    }
    process.kill().await;
    a_long_while(&f).await;
    for (key, lease) in held {
        assert_answer!(f.a.acquire(&key).await, Err(Error::Held { .. }), "{key}");
        let again = f.a.acquire(&key).owner("o").await.expect("its owner re-enters it anywhere");
        assert_eq!(again.token(), lease.token(), "the same hold");
    }
}

pub(crate) async fn a_stopped_processs_guard_is_free_and_it_finds_that_out(f: Fixture) {
    let (key, process) = (f.key("k"), f.process().await);
    let token = process.lock(&key, SHORT, SOON).await.expect("free");
    process.stop().await;
    let next = f.a.lock(&key).timeout(LONG);
    let next = within(SHORT + SOON, "the next holder", next).await.expect("free by then");
    always!(token < next.token(), "{} after {token}", next.token());
    process.go_on();
    let first_look = soon("its first look", process.check(&key)).await;
    always!(first_look.is_err(), "two believe in `{key}`");
    assert_eq!(first_look.expect_err("lost").outcome, "lost");
    // Nor does it free what isn't its own any more.
    let given_back = soon("its release", process.unlock(&key)).await;
    assert_eq!(given_back.expect_err("lost").outcome, "lost");
    next.check().expect("the next holder holds it");
    assert!(!is_free(&f.b, &key).await, "and it is held in the store");
    next.release().await.expect("held to the end");
    within(LONG, "its end", process.exit()).await;
}

pub(crate) async fn processes_share_a_key_fairly(f: Fixture) {
    let (key, time) = (f.key("k"), ms(u64::try_from(f.scaled(60_000)).expect("small") + 2_000));
    let (one, other) = (f.process().await, f.process().await);
    let (ones, others) = tokio::join!(one.contend(&key, 4, time), other.contend(&key, 4, time));
    // Tokens grow with each holder: together, those of both tell who held it when.
    let holders = order(ones.expect("held"), others.expect("held"));
    assert!(holders.len() > 4 * OVERTAKEN, "contended: {} holders", holders.len());
    let firsts = holders.iter().filter(|holder| **holder == 0).count();
    let (least, all) = (firsts.min(holders.len() - firsts), holders.len());
    assert!(least * 5 >= all, "a process had {least} of {all} turns");
    // A process that this machine doesn't let run is overtaken as one that is stopped.
    let runs: Vec<usize> = holders.chunk_by(|one, next| one == next).map(<[u8]>::len).collect();
    let long = runs.iter().filter(|run| **run > OVERTAKEN).count();
    assert!(long * 50 <= runs.len(), "overtaken by more than {OVERTAKEN}: {long} times: {runs:?}");
}

/// Who held a key, in the order of the tokens, while both still came to hold it.
fn order(ones: Vec<FencingToken>, others: Vec<FencingToken>) -> Vec<u8> {
    let span =
        |tokens: &[FencingToken]| (tokens.iter().min().copied(), tokens.iter().max().copied());
    let ((first, last), (other_first, other_last)) = (span(&ones), span(&others));
    let (from, to) = (first.max(other_first), last.min(other_last));
    let mut holds: Vec<_> = ones
        .into_iter()
        .map(|token| (token, 0))
        .chain(others.into_iter().map(|token| (token, 1)))
        .collect();
    holds.retain(|(token, _)| Some(*token) >= from && Some(*token) <= to);
    holds.sort_unstable();
    holds.into_iter().map(|(_, holder)| holder).collect()
}

/// What a process had just asked when it ended, or could be reached no more, is answered by then. Granted by that
/// answer, it would be a holder, rather than a waiter.
pub(super) const ASKED: Duration = ms(200);

pub(crate) async fn a_killed_waiter_costs_the_queue_less_than_a_second(f: Fixture) {
    let (key, process) = (f.key("k"), f.process().await);
    let held = f.a.acquire(&key).await.expect("free");
    let (_turn, behind) = first_in_line(&f, &key, &process).await;
    process.kill().await;
    sleep(ASKED).await;
    let began = Instant::now();
    assert!(f.a.release_lease(&held).await.expect("answered"));
    let granted = soon("who stands behind it", behind).await;
    granted.expect("no panic").expect("granted");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

pub(crate) async fn a_stopped_waiter_costs_the_queue_less_than_a_second(f: Fixture) {
    let (key, process) = (f.key("k"), f.process().await);
    let held = f.a.acquire(&key).await.expect("free");
    let (turn, behind) = first_in_line(&f, &key, &process).await;
    process.stop().await;
    sleep(ASKED).await;
    assert!(f.a.release_lease(&held).await.expect("answered"));
    let granted = soon("who stands behind it", behind).await;
    let granted = granted.expect("no panic").expect("granted");
    process.go_on();
    // It may have been granted the key meanwhile, for a moment: it must not believe in that.
    a_moment().await;
    assert!(!is_free(&f.a, &key).await, "one holder");
    assert!(f.b.release_lease(&granted).await.expect("answered"), "who is still the same");
    let token = within(LONG, "its own turn", turn).await.expect("granted");
    always!(granted.token() < token, "{token} after {}", granted.token());
    process.unlock(&key).await.expect("held to the end");
    until_free(&f.a, &key).await;
}

/// A process that waits for a held key, and behind it somebody else.
async fn first_in_line(
    f: &Fixture,
    key: &str,
    process: &Process,
) -> (
    impl Future<Output = Result<FencingToken, crate::Refusal>> + use<>,
    tokio::task::JoinHandle<locking_core::Result<locking_core::Lease>>,
) {
    let turn = process.lock(key, LONG, LONG);
    until_in_line(f, key, 1).await;
    let (module, wanted) = (f.b.clone(), key.to_owned());
    let behind = tokio::spawn(async move { module.acquire(wanted).wait(LONG).await });
    until_in_line(f, key, 2).await;
    (turn, behind)
}

/// Waits until so many stand in line for a held key; where the store doesn't tell, long enough.
async fn until_in_line(f: &Fixture, key: &str, wanted: usize) {
    let waiters = || async {
        let info = f.a.inspect(key).await.ok().flatten();
        info.and_then(|info| info.waiters)
    };
    match waiters().await {
        None => sleep(ms(300)).await,
        Some(_) => {
            let in_line = || async { waiters().await >= Some(wanted) };
            until_within(LONG, "it stands in line", in_line).await;
        }
    }
}
