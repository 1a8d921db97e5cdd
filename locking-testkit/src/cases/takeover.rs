//! Processes that are gone while they hold guards, whose leases would last much longer than the
//! bound that the provider claims.

use std::time::Duration;

use locking_core::FencingToken;
use tokio::time::{Instant, sleep};

use crate::faults::{Cut, Direction, Fault, Proxy};
use crate::fixture::Fixture;
use crate::process::Process;
use crate::support::{LONG, SOON, always, is_free, ms, soon, until_within, within};

/// The bound that the clients of this case claim. What they hold here is leased for ten times as
/// long: nobody waits for the end of that.
async fn bound(f: &Fixture) -> Duration {
    f.client().await.capabilities().takeover().expect("every client of the provider claims one")
}

async fn locked(process: &Process, key: &str, bound: Duration) -> FencingToken {
    process.lock(key, bound * 10, SOON).await.expect("free")
}

/// From here on, nothing gets through, and all connections stay open.
fn swallow(proxy: &Proxy) {
    for direction in [Direction::ToServer, Direction::ToClient] {
        proxy.inject(Fault::Swallow { direction });
    }
}

pub(crate) async fn a_killed_processs_guards_are_free_within_the_bound(f: Fixture) {
    let (bound, process) = (bound(&f).await, f.process().await);
    let keys: Vec<_> = (0..10).map(|n| f.key(&n.to_string())).collect();
    for key in &keys {
        locked(&process, key, bound).await;
    }
    process.kill().await;
    let gone = Instant::now();
    for key in &keys {
        let left = bound.saturating_sub(gone.elapsed()).max(ms(1));
        until_within(left, &format!("`{key}` is free"), || is_free(&f.a, key)).await;
    }
}

pub(crate) async fn a_waiter_gets_a_killed_processs_key_within_the_bound(f: Fixture) {
    let (key, bound, process) = (f.key("k"), bound(&f).await, f.process().await);
    let token = locked(&process, &key, bound).await;
    let (module, wanted) = (f.a.clone(), key.clone());
    let waiting = tokio::spawn(async move { module.lock(wanted).timeout(LONG).await });
    // As long as it lives, it keeps its guard.
    sleep(bound + ms(200)).await;
    process.check(&key).await.expect("kept alive");
    assert!(!waiting.is_finished(), "it is held");
    process.kill().await;
    let next = within(bound, "the next holder", waiting).await.expect("no panic");
    always!(token < next.expect("granted").token(), "a token of its own");
}

pub(crate) async fn a_stopped_process_knows_its_loss_before_it_does_anything_else(f: Fixture) {
    let (key, bound, proxy) = (f.key("k"), bound(&f).await, f.proxy().await);
    let process = f.process_at(proxy.address()).await;
    let token = locked(&process, &key, bound).await;
    process.stop().await;
    swallow(&proxy);
    let next = f.a.lock(&key).timeout(LONG);
    let next = within(bound, "the next holder", next).await.expect("free by then");
    always!(token < next.token(), "{} after {token}", next.token());
    // It knows by itself: nobody can have told it.
    process.go_on();
    let first_look = soon("its first look", process.check(&key)).await;
    always!(first_look.is_err(), "two believe in `{key}`");
    assert_eq!(first_look.expect_err("lost").outcome, "lost");
    proxy.restore();
    proxy.cut(Cut::Reset);
    let given_back = within(LONG, "its release", process.unlock(&key)).await;
    assert_eq!(given_back.expect_err("lost").outcome, "lost");
    next.check().expect("the next holder holds it");
    assert!(!is_free(&f.b, &key).await, "and it is held in the store");
    // It works again by itself, and stands in line as others do.
    let again = process.lock(&key, LONG, LONG);
    let later = next.token();
    next.release().await.expect("held to the end");
    let last = within(LONG, "its turn", again).await.expect("granted");
    always!(later < last, "{last} after {later}");
    process.unlock(&key).await.expect("held to the end");
    within(LONG, "its end", process.exit()).await;
}

pub(crate) async fn a_process_that_vanishes_with_its_machine_holds_nothing_up(f: Fixture) {
    let (key, bound, proxy) = (f.key("k"), bound(&f).await, f.proxy().await);
    let process = f.process_at(proxy.address()).await;
    let token = locked(&process, &key, bound).await;
    // Its connections stay open: nobody tells the server that it is gone.
    swallow(&proxy);
    process.kill().await;
    let next = f.a.lock(&key).timeout(LONG);
    let next = within(bound, "the next holder", next).await.expect("free by then");
    always!(token < next.token(), "{} after {token}", next.token());
}

pub(crate) async fn a_process_that_is_busy_keeps_its_guards(f: Fixture) {
    let (key, bound, process) = (f.key("k"), bound(&f).await, f.process().await);
    let token = locked(&process, &key, bound).await;
    let busy = process.contend(&f.key("busy"), 16, bound + bound / 2);
    let began = Instant::now();
    while began.elapsed() < bound + bound / 2 {
        // For moments it doesn't run at all.
        process.stop().await;
        sleep(bound / 10).await;
        process.go_on();
        sleep(bound / 10).await;
        process.check(&key).await.expect("it lives");
        assert!(!is_free(&f.a, &key).await, "it is held");
    }
    // A grant that it couldn't confirm while it was stopped isn't kept for it.
    drop(within(LONG, "its work", busy).await);
    process.unlock(&key).await.expect("held to the end");
    always!(token < f.a.lock(&key).await.expect("free").token(), "a token of its own");
}
