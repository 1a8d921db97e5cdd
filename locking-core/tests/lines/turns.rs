//! A guard whose turn in its process is over, before a store whose every answer the test gives.

use std::sync::Arc;
use std::time::Duration;

use locking_core::line::{AskId, Lines};
use locking_core::{
    Error, Expiry, FencingToken, Grant, Lease, LossReason, Moment, Result, WaitUntil,
};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::script::{self, Call, Prompter, Script, blocked, guard, lines, taken};
use super::script::{unavailable, unknown, within};
use super::{SECOND, acquire, settle};

/// What the store grants first, and the first token of another turn.
const GRANTED: u64 = 100;
const AGAIN: u64 = 500;
/// How often a key is passed on in one turn.
const PASSES: u64 = 16;

/// A guard whose turn is over, and those who wait for its key in the process.
struct Over {
    /// The ask to which the store granted it.
    origin: AskId,
    first: Lease,
    lease: Lease,
    waiting: Vec<JoinHandle<Result<Grant>>>,
}

impl Over {
    async fn new(lines: &Arc<Lines<Script>>, store: &mut Prompter, left: u64) -> Self {
        let holder = acquire(lines, guard(&["k"], WaitUntil::Now));
        let (ask, _, answer) = store.asked().await;
        answer.send(taken(&ask, GRANTED)).expect("heard");
        let (origin, first) = (ask.id, granted(holder).await);
        let waiting = || acquire(lines, guard(&["k"], within(60 * SECOND)));
        let mut waiting: Vec<_> = (0..PASSES + left).map(|_| waiting()).collect();
        let (ask, _, answer) = store.asked().await;
        answer.send(blocked(&ask, GRANTED)).expect("heard");
        settle().await;
        let mut lease = first.clone();
        for _ in 0..PASSES {
            assert!(lines.pass_on(&lease), "its turn lasts");
            lease = granted(waiting.remove(0)).await;
        }
        assert!(!lines.pass_on(&lease), "its turn is over");
        Self { origin, first, lease, waiting }
    }

    /// Nobody got it whom the store doesn't know.
    async fn is_passed_on_to_nobody(&self) {
        settle().await;
        assert!(self.waiting.iter().all(|waiting| !waiting.is_finished()));
    }
}

fn release(lines: &Arc<Lines<Script>>, lease: &Lease) -> JoinHandle<Result<()>> {
    let (lines, lease) = (Arc::clone(lines), lease.clone());
    tokio::spawn(async move { lines.release_lease(&lease).await })
}

async fn grant(waiting: JoinHandle<Result<Grant>>) -> Grant {
    waiting.await.expect("no panic").expect("granted")
}

async fn granted(waiting: JoinHandle<Result<Grant>>) -> Lease {
    grant(waiting).await.lease
}

fn kept() -> Result<Option<FencingToken>> {
    Ok(Some(FencingToken::new(AGAIN)))
}

#[tokio::test(start_paused = true)]
async fn a_guard_goes_to_the_next_in_line_where_nobody_else_waits() {
    let (lines, mut store) = lines();
    let mut over = Over::new(&lines, &mut store, PASSES + 1).await;
    let Call::Rename(_, renamed) = store.call().await else { panic!("expected a new name") };
    renamed.send(Ok(())).expect("heard");
    sleep(SECOND / 10).await;
    let asked = Moment::now();
    let releasing = release(&lines, &over.lease);
    let Call::ReleaseOrKeep(released, origin, answer) = store.call().await else {
        panic!("expected a release, or another turn")
    };
    assert_eq!((released, origin), (over.lease.clone(), over.origin.clone()));
    over.is_passed_on_to_nobody().await;
    answer.send(kept()).expect("heard");
    releasing.await.expect("no panic").expect("released");
    let mut lease = over.lease.clone();
    for passed in 0..PASSES {
        let next = grant(over.waiting.remove(0)).await;
        assert_eq!(next.lease.token().get(), AGAIN + passed);
        assert_ne!(next.lease.owner, lease.owner, "another holder");
        // The store has set its time when it was asked. (A paused clock and the system's differ a little.)
        let before = next.counted_from.map(|from| asked.saturating_since(from));
        assert!(before.is_some_and(|before| before < SECOND / 20), "{before:?}");
        lease = next.lease;
        assert_eq!(lines.pass_on(&lease), passed + 1 < PASSES, "after {passed}");
    }
    over.is_passed_on_to_nobody().await;
}

#[tokio::test(start_paused = true)]
async fn a_guard_of_an_earlier_turn_is_lost_whatever_the_store_knows() {
    let (lines, mut store) = lines();
    let mut over = Over::new(&lines, &mut store, 1).await;
    let releasing = release(&lines, &over.lease);
    store.released_or_kept().await.1.send(kept()).expect("heard");
    releasing.await.expect("no panic").expect("released");
    let holder = granted(over.waiting.remove(0)).await;
    for earlier in [&over.first, &over.lease] {
        // The store was told of the first alone: asked, it would free the key.
        let refused = timeout(SECOND, lines.release_lease(earlier)).await.expect("at once");
        assert!(matches!(refused, Err(Error::Lost { .. })), "{refused:?}");
        let extending = lines.extend(earlier, Expiry::new(SECOND).expect("an expiry"));
        let refused = timeout(SECOND, extending).await.expect("at once");
        assert!(matches!(refused, Err(Error::Lost { .. })), "{refused:?}");
    }
    // Nobody is left for whom the line's place at the store is.
    store.withdrawn().await.2.send(Ok(())).expect("heard");
    let releasing = release(&lines, &holder);
    let (released, answer) = store.released().await;
    assert_eq!(released, holder, "nobody waits any more");
    answer.send(Ok(())).expect("heard");
    releasing.await.expect("no panic").expect("released");
}

#[tokio::test(start_paused = true)]
async fn a_guard_goes_back_to_the_store_where_others_wait() {
    let (lines, mut store) = lines();
    let over = Over::new(&lines, &mut store, 1).await;
    let releasing = release(&lines, &over.lease);
    store.released_or_kept().await.1.send(Ok(None)).expect("heard");
    releasing.await.expect("no panic").expect("released");
    store.is_silent(Duration::from_millis(100)).await;
    over.is_passed_on_to_nobody().await;
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_was_lost_meanwhile_is_passed_on_to_nobody() {
    let (lines, mut store) = lines();
    let over = Over::new(&lines, &mut store, 1).await;
    let releasing = release(&lines, &over.lease);
    let key = over.lease.keys()[0].key.clone();
    let lost = Error::lost(&script::id(), key, LossReason::Expired);
    store.released_or_kept().await.1.send(Err(lost)).expect("heard");
    let refused = releasing.await.expect("no panic");
    assert!(matches!(refused, Err(Error::Lost { .. })), "{refused:?}");
    store.is_silent(Duration::from_millis(100)).await;
    over.is_passed_on_to_nobody().await;
}

/// What was asked may still be carried out: then the key is free while somebody believes in it.
#[tokio::test(start_paused = true)]
async fn a_guard_whose_release_was_left_unanswered_is_passed_on_no_more() {
    for gives_up in [false, true] {
        let (lines, mut store) = lines();
        let over = Over::new(&lines, &mut store, 1).await;
        let mut releasing = release(&lines, &over.lease);
        let (_, answer) = store.released_or_kept().await;
        if gives_up {
            releasing.abort();
            assert!(releasing.await.expect_err("aborted").is_cancelled());
            releasing = release(&lines, &over.lease);
        } else {
            answer.send(unknown()).expect("heard");
        }
        assert!(!lines.pass_on(&over.lease));
        store.released().await.1.send(Ok(())).expect("heard");
        releasing.await.expect("no panic").expect("released");
        over.is_passed_on_to_nobody().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_is_given_back_twice_at_once_is_passed_on_to_nobody() {
    for kept_first in [true, false] {
        let (lines, mut store) = lines();
        let over = Over::new(&lines, &mut store, 1).await;
        let first = release(&lines, &over.lease);
        let (_, keeping) = store.released_or_kept().await;
        let second = release(&lines, &over.lease);
        let (_, freeing) = store.released().await;
        let mut freeing = Some(freeing);
        if !kept_first {
            freeing.take().map(|freeing| freeing.send(Ok(())));
            settle().await;
        }
        keeping.send(kept()).expect("heard");
        // The other one has freed the key, or will.
        over.is_passed_on_to_nobody().await;
        store.released().await.1.send(Ok(())).expect("heard");
        freeing.take().map(|freeing| freeing.send(Ok(())));
        for releasing in [first, second] {
            releasing.await.expect("no panic").expect("released");
        }
        over.is_passed_on_to_nobody().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_whose_time_is_being_set_has_no_other_turn() {
    let (lines, mut store) = lines();
    let over = Over::new(&lines, &mut store, 1).await;
    let releasing = release(&lines, &over.lease);
    let (_, answer) = store.released_or_kept().await;
    let extending = {
        let (lines, lease) = (Arc::clone(&lines), over.lease.clone());
        let second = Expiry::new(SECOND).expect("an expiry");
        tokio::spawn(async move { lines.extend(&lease, second).await })
    };
    let Call::Extend(_, extended) = store.call().await else { panic!("expected an extension") };
    answer.send(kept()).expect("heard");
    let (_, released) = store.released().await;
    // It would believe in 30 s.
    over.is_passed_on_to_nobody().await;
    extended.send(Ok(())).expect("heard");
    extending.await.expect("no panic").expect("extended");
    released.send(Ok(())).expect("heard");
    releasing.await.expect("no panic").expect("released");
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_nobody_wants_any_more_when_it_is_kept_is_given_back() {
    // It is given back, or was freed by force meanwhile: it was held until its work was done.
    for (closes, is_free) in [(true, false), (false, false), (false, true)] {
        let (lines, mut store) = lines();
        let over = Over::new(&lines, &mut store, 1).await;
        let releasing = release(&lines, &over.lease);
        let (_, answer) = store.released_or_kept().await;
        let closing = {
            let lines = Arc::clone(&lines);
            tokio::spawn(async move {
                if closes {
                    lines.close().await;
                }
            })
        };
        over.waiting[0].abort();
        // The line's place at the store isn't wanted either.
        store.withdrawn().await.2.send(Ok(())).expect("heard");
        answer.send(kept()).expect("heard");
        let (released, answer) = store.released().await;
        assert_eq!(released, over.lease);
        settle().await;
        assert!(!closes || !closing.is_finished(), "a close waits until it is given back");
        let key = released.keys()[0].key.clone();
        let lost = Error::lost(&script::id(), key, LossReason::Expired);
        answer.send(if is_free { Err(lost) } else { Ok(()) }).expect("heard");
        releasing.await.expect("no panic").expect("released");
        closing.await.expect("no panic");
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_a_full_store_could_not_keep_is_given_back() {
    let (lines, mut store) = lines();
    let over = Over::new(&lines, &mut store, 1).await;
    let releasing = release(&lines, &over.lease);
    let full = Err(Error::capacity_exceeded(&script::id(), "full"));
    store.released_or_kept().await.1.send(full).expect("heard");
    store.released().await.1.send(Ok(())).expect("heard");
    releasing.await.expect("no panic").expect("released");
    over.is_passed_on_to_nobody().await;
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_the_store_was_not_asked_to_keep_is_not_given_back() {
    let (lines, mut store) = lines();
    let over = Over::new(&lines, &mut store, 1).await;
    let releasing = release(&lines, &over.lease);
    store.released_or_kept().await.1.send(unavailable()).expect("heard");
    let failed = releasing.await.expect("no panic");
    assert!(matches!(failed, Err(Error::Unavailable { .. })), "{failed:?}");
    over.is_passed_on_to_nobody().await;
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_was_freed_by_force_when_it_is_kept_is_passed_on_to_nobody() {
    let (lines, mut store) = lines();
    let over = Over::new(&lines, &mut store, 1).await;
    let releasing = release(&lines, &over.lease);
    let (_, answer) = store.released_or_kept().await;
    lines.revoked("k", over.origin.as_str());
    answer.send(kept()).expect("heard");
    let (_, answer) = store.released().await;
    over.is_passed_on_to_nobody().await;
    answer.send(Ok(())).expect("heard");
    releasing.await.expect("no panic").expect("what is left of it is given back");
}
