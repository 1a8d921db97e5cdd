//! The in-process layer, before a store whose every answer the test gives.

#[path = "support/script.rs"]
mod script;
#[path = "lines/turns.rs"]
mod turns;

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use locking_core::line::{Answer, AskId, Lines, Manner};
use locking_core::{
    AcquireRequest, Error, Expiry, FencingToken, Grant, Hold, HoldKind, Lease, LockInfo,
    LossReason, LossSignal, Moment, OwnerId, Result, WaitUntil,
};
use script::{
    Call, Prompter, Script, blocked, guard, lease, lines, lines_on, reentered, taken, tell,
    unavailable, unknown, within,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);
const TERM: Duration = Duration::from_millis(400);

fn acquire(lines: &Arc<Lines<Script>>, request: AcquireRequest) -> JoinHandle<Result<Grant>> {
    let lines = Arc::clone(lines);
    tokio::spawn(async move { lines.acquire(request).await })
}

/// A guard holds `key`, so that who comes next stands in line.
async fn held(lines: &Arc<Lines<Script>>, store: &mut Prompter, key: &str, token: u64) -> Lease {
    held_by_ask(lines, store, key, token).await.0
}

/// The same, and the ask to which the store granted it.
async fn held_by_ask(
    lines: &Arc<Lines<Script>>,
    store: &mut Prompter,
    key: &str,
    token: u64,
) -> (Lease, AskId) {
    let holder = acquire(lines, guard(&[key], WaitUntil::Now));
    let (ask, _, answer) = store.asked().await;
    answer.send(taken(&ask, token)).expect("heard");
    (holder.await.expect("no panic").expect("granted").lease, ask.id)
}

/// Whether the lines know who holds what the store granted to this ask.
fn is_known(lines: &Lines<Script>, lease: &Lease, ask: &AskId) -> bool {
    let leased = &lease.keys()[0];
    let stale = LockInfo::new(leased.key.clone(), FencingToken::new(0), HoldKind::Guard);
    lines.named(stale, ask.as_str()).token == leased.token
}

fn loss_of(request: &AcquireRequest) -> LossSignal {
    let Hold::Guard(loss) = &request.hold else { panic!("a guard's request") };
    loss.clone()
}

/// Releases a lease, which the store answers so.
async fn release(
    lines: &Arc<Lines<Script>>,
    store: &mut Prompter,
    lease: &Lease,
    answer: Result<()>,
) -> Result<()> {
    let releasing = {
        let (lines, lease) = (Arc::clone(lines), lease.clone());
        tokio::spawn(async move { lines.release_lease(&lease).await })
    };
    let (released, tell) = store.released().await;
    assert_eq!(&released, lease);
    tell.send(answer).expect("heard");
    releasing.await.expect("no panic")
}

/// Lets every task that can run do so.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_line_was_granted_is_not_taken_back_from_an_owner_that_re_entered_it() {
    let (lines, mut store) = lines();
    held(&lines, &mut store, "k", 100).await;
    let owner = OwnerId::new("owner").expect("an owner");
    let waiting = acquire(&lines, lease(&["k"], within(SECOND)).with_owner(owner));
    let mut asked = None;
    let mut re_entering = None;
    for _ in 0..2 {
        match store.asked().await {
            (ask, Manner::Reenter, answer) => re_entering = Some((ask, answer)),
            (ask, _, answer) => asked = Some((ask, answer)),
        }
    }
    let ((ask, answer), (again, re_entered)) =
        (asked.expect("the line asks"), re_entering.expect("the owner asks"));
    // The line's ask took the key first, and so the owner has it; but this answer is the first.
    re_entered.send(reentered(&again, 200)).expect("heard");
    settle().await;
    answer.send(taken(&ask, 200)).expect("heard");
    let grant = waiting.await.expect("no panic").expect("granted");
    assert_eq!(grant.lease.token().get(), 200);
    store.is_silent(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_behind_one_that_asks_directly_times_out_as_everybody() {
    let (lines, mut store) = lines();
    let first = acquire(&lines, guard(&["k"], within(10 * SECOND)));
    let (ask, _, answer) = store.asked().await;
    let begun = Instant::now();
    let second = acquire(&lines, guard(&["k"], within(SECOND)));
    let refused = second.await.expect("no panic").expect_err("the store doesn't answer");
    assert!(matches!(refused, Error::TimedOut { .. }), "{refused:?}");
    assert!(begun.elapsed() <= SECOND + Duration::from_millis(5), "{:?}", begun.elapsed());
    answer.send(taken(&ask, 100)).expect("heard");
    first.await.expect("no panic").expect("granted");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_polls_does_not_hold_up_those_behind_it() {
    let (lines, mut store) = lines();
    let mut first = Box::pin(lines.acquire(guard(&["k"], WaitUntil::Forever)));
    let begins = poll_fn(|context| Poll::Ready(first.as_mut().poll(context).is_pending()));
    assert!(begins.await, "it isn't answered yet");
    let (early, _, answer) = store.asked().await;
    answer.send(blocked(&early, 100)).expect("heard");
    let second = acquire(&lines, guard(&["k"], WaitUntil::Forever));
    let (ask, manner, answer) = store.asked().await;
    assert_ne!(ask.id, early.id);
    assert_eq!(manner, Manner::Queue);
    answer.send(taken(&ask, 200)).expect("heard");
    assert_eq!(second.await.expect("no panic").expect("granted").lease.token().get(), 200);

    // Polled after all, it asks once more, is taken back, and waits like others.
    let first = async { first.await.expect("granted").lease.token().get() };
    let answers = async {
        let (again, manner, answer) = store.asked().await;
        assert_eq!((again.id, manner), (early.id.clone(), Manner::Again));
        answer.send(blocked(&ask, 200)).expect("heard");
        let (withdrawn, unsure, done) = store.withdrawn().await;
        assert_eq!((withdrawn.id, unsure), (early.id, true));
        done.send(Ok(())).expect("heard");
        let (ask, _, answer) = store.asked().await;
        answer.send(taken(&ask, 300)).expect("heard");
    };
    assert_eq!(tokio::join!(first, answers).0, 300);
}

/// One turn of a key that others want, too: by its end the line's agent sleeps.
async fn take_a_turn(lines: &Arc<Lines<Script>>, store: &mut Prompter, token: u64) {
    let turn = acquire(lines, guard(&["k"], WaitUntil::Forever));
    let (ask, manner, answer) = store.asked().await;
    assert_eq!(manner, Manner::Queue);
    answer.send(blocked(&ask, token - 50)).expect("heard");
    settle().await;
    tell(lines, &ask, token, TERM);
    let granted = turn.await.expect("no panic").expect("granted").lease;
    release(lines, store, &granted, Ok(())).await.expect("held");
}

#[tokio::test(start_paused = true)]
async fn on_a_busy_key_each_turn_costs_one_question() {
    let (lines, mut store) = lines();
    for turn in 1..=20 {
        take_a_turn(&lines, &mut store, 100 * turn).await;
        sleep(SECOND / 20).await;
    }
    store.is_silent(3 * SECOND).await;
    // The agent has left.
    assert_eq!(Arc::strong_count(&lines), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_nobody_polls_holds_nobody_up_where_the_line_was_busy_before() {
    let (lines, mut store) = lines();
    take_a_turn(&lines, &mut store, 100).await;
    let mut neglected = Box::pin(lines.acquire(guard(&["k"], WaitUntil::Forever)));
    let begins = poll_fn(|context| Poll::Ready(neglected.as_mut().poll(context).is_pending()));
    assert!(begins.await, "it isn't answered yet");
    let (early, _, answer) = store.asked().await;
    answer.send(blocked(&early, 100)).expect("heard");
    sleep(9 * SECOND).await;
    let joined = Instant::now();
    let next = acquire(&lines, guard(&["k"], WaitUntil::Forever));
    let (ask, manner, answer) = store.asked().await;
    assert!(ask.id != early.id && manner == Manner::Queue);
    assert!(joined.elapsed() < SECOND / 10, "{:?}", joined.elapsed());
    answer.send(taken(&ask, 200)).expect("heard");
    next.await.expect("no panic").expect("granted");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_polled_late_has_what_it_was_granted_meanwhile() {
    let (lines, mut store) = lines();
    let mut first = Box::pin(lines.acquire(lease(&["k"], WaitUntil::Forever)));
    let begins = poll_fn(|context| Poll::Ready(first.as_mut().poll(context).is_pending()));
    assert!(begins.await, "it isn't answered yet");
    let (early, _, answer) = store.asked().await;
    answer.send(blocked(&early, 100)).expect("heard");
    let second = acquire(&lines, lease(&["k"], WaitUntil::Forever));
    let (_ask, _, _answer) = store.asked().await;
    let answers = async {
        let (again, _, answer) = store.asked().await;
        // Its owner's other calls may have entered it, so that it isn't to be taken back.
        answer.send(taken(&again, 200)).expect("heard");
    };
    let (first, ()) = tokio::join!(first, answers);
    assert_eq!(first.expect("granted").lease.token().get(), 200);
    store.is_silent(SECOND / 4).await;
    second.abort();
}

#[tokio::test(start_paused = true)]
async fn a_late_grant_that_is_refused_leaves_its_waiter_in_line_as_it_was() {
    let (lines, mut store) = lines();
    let holder = held(&lines, &mut store, "k", 100).await;
    let request = guard(&["k"], WaitUntil::Forever);
    let lost = loss_of(&request);
    let waiting = acquire(&lines, request);
    let (ask, _, answer) = store.asked().await;
    let released = tokio::spawn({
        let lines = Arc::clone(&lines);
        async move { lines.release_lease(&holder).await }
    });
    let (_, given_back) = store.released_or_kept().await;
    given_back.send(Ok(None)).expect("heard");
    released.await.expect("no panic").expect("given back");
    let newer = acquire(&lines, guard(&["k"], WaitUntil::Now));
    let (newer_ask, _, newer_answer) = store.asked().await;
    newer_answer.send(taken(&newer_ask, 300)).expect("heard");
    newer.await.expect("no panic").expect("granted");
    // Granted before, and over.
    answer.send(taken(&ask, 200)).expect("heard");
    let (anew, _, answer) = store.asked().await;
    assert_eq!(lost.reason(), None);
    answer.send(taken(&anew, 400)).expect("heard");
    assert_eq!(waiting.await.expect("no panic").expect("granted").lease.token().get(), 400);
    assert_eq!(lost.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_polled_late_is_not_told_that_it_is_not_held_before_it_is_taken_back() {
    let (lines, mut store) = lines();
    let mut first = Box::pin(lines.acquire(guard(&["k"], within(20 * SECOND))));
    let begins = poll_fn(|context| Poll::Ready(first.as_mut().poll(context).is_pending()));
    assert!(begins.await, "it isn't answered yet");
    let (early, _, answer) = store.asked().await;
    answer.send(blocked(&early, 100)).expect("heard");
    let second = acquire(&lines, guard(&["k"], WaitUntil::Forever));
    let (_ask, _, _answer) = store.asked().await;
    let (refused, _unanswered) = tokio::join!(first, store.asked());
    let refused = refused.expect_err("the store doesn't say what became of it");
    assert!(matches!(refused, Error::UnknownOutcome { .. }), "{refused:?}");
    let (withdrawn, ..) = store.withdrawn().await;
    assert_eq!(withdrawn.id, early.id);
    second.abort();
}

#[test]
fn a_runtime_that_ends_under_a_line_leaves_nobody_waiting() {
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime");
    let (stores, callers) = (runtime(), runtime());
    callers.block_on(async {
        let (lines, mut store) = lines_on(stores.handle().clone());
        let holder = held(&lines, &mut store, "k", 100).await;
        let waiting = acquire(&lines, guard(&["k"], WaitUntil::Forever));
        let (_ask, _, _answer) = store.asked().await;
        stores.shutdown_background();
        for waiting in [waiting, acquire(&lines, guard(&["k"], WaitUntil::Forever))] {
            let ended = timeout(10 * SECOND, waiting).await.expect("somebody answers");
            let refused = ended.expect("no panic").expect_err("nobody asks any more");
            assert!(matches!(refused, Error::UnknownOutcome { .. }), "{refused:?}");
        }
        let released = tokio::spawn({
            let (lines, holder) = (Arc::clone(&lines), holder.clone());
            async move { lines.release_lease(&holder).await }
        });
        let (_, done) = store.released().await;
        done.send(Ok(())).expect("heard");
        released.await.expect("no panic").expect("the holder does it itself");
    });
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_is_heard_of_late_takes_nothing_from_a_newer_holder() {
    let (lines, mut store) = lines();
    let late = guard(&["k"], WaitUntil::Forever);
    let lost = loss_of(&late);
    let late = acquire(&lines, late);
    let (ask, _, late_answer) = store.asked().await;
    let newer = guard(&["k"], WaitUntil::Now);
    let holds = loss_of(&newer);
    let newer = acquire(&lines, newer);
    let (newer_ask, _, answer) = store.asked().await;
    answer.send(taken(&newer_ask, 200)).expect("heard");
    newer.await.expect("no panic").expect("granted");
    // This one was granted before, and has ended.
    late_answer.send(taken(&ask, 100)).expect("heard");
    late.await.expect("no panic").expect("it will find that out");
    assert_eq!(lost.reason(), Some(LossReason::Revoked));
    assert_eq!(holds.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_not_passed_on_past_one_that_asks_directly() {
    let (lines, mut store) = lines();
    let first = acquire(&lines, guard(&["k"], within(10 * SECOND)));
    let (ask, _, answer) = store.asked().await;
    let holder = held(&lines, &mut store, "k", 100).await;
    let second = acquire(&lines, guard(&["k"], within(10 * SECOND)));
    settle().await;
    assert!(!lines.pass_on(&holder), "the first in line hasn't got its answer yet");
    answer.send(taken(&ask, 200)).expect("heard");
    assert_eq!(first.await.expect("no panic").expect("granted").lease.token().get(), 200);
    second.abort();
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_until_what_was_asked_for_meanwhile_is_taken_back() {
    for request in [
        guard(&["k"], WaitUntil::Now),
        guard(&["k"], WaitUntil::Forever),
        guard(&["k", "l"], WaitUntil::Forever),
    ] {
        let (lines, mut store) = lines();
        let asking = acquire(&lines, request);
        let (ask, _, answer) = store.asked().await;
        let closing = tokio::spawn({
            let lines = Arc::clone(&lines);
            async move { lines.close().await }
        });
        settle().await;
        answer.send(taken(&ask, 100)).expect("heard");
        let refused = asking.await.expect("no panic").expect_err("closed");
        assert!(matches!(refused, Error::Closed { .. }), "{refused:?}");
        let (withdrawn, _, done) = store.withdrawn().await;
        assert_eq!(withdrawn.id, ask.id);
        assert!(!closing.is_finished(), "the store has still to be told");
        done.send(Ok(())).expect("heard");
        closing.await.expect("no panic");
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_is_told_while_the_line_asks_again_waits_for_the_answer() {
    let (lines, mut store) = lines();
    let waiting = acquire(&lines, guard(&["k"], within(10 * SECOND)));
    let (ask, _, answer) = store.asked().await;
    answer.send(blocked(&ask, 100)).expect("heard");
    settle().await;
    lines.look();
    let (again, manner, answer) = store.asked().await;
    assert_eq!((again.id, manner), (ask.id.clone(), Manner::Again));
    tell(&lines, &ask, 200, TERM);
    settle().await;
    // Given back before it is carried out, the ask would take the key for nobody.
    assert!(!waiting.is_finished(), "an ask is still under way");
    answer.send(taken(&ask, 200)).expect("heard");
    assert_eq!(waiting.await.expect("no panic").expect("granted").lease.token().get(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_is_told_between_two_asks_is_believed_at_once() {
    let (lines, mut store) = lines();
    let waiting = acquire(&lines, guard(&["k"], within(10 * SECOND)));
    let (ask, _, answer) = store.asked().await;
    answer.send(blocked(&ask, 100)).expect("heard");
    settle().await;
    tell(&lines, &ask, 200, TERM);
    let grant = waiting.await.expect("no panic").expect("granted");
    assert_eq!((grant.lease.token().get(), grant.term), (200, Some(TERM)));
}

#[tokio::test(start_paused = true)]
async fn an_ask_that_never_reached_the_store_stands_at_the_end_of_its_queue() {
    let (lines, mut store) = lines();
    held(&lines, &mut store, "k", 100).await;
    let waiting = acquire(&lines, guard(&["k"], within(10 * SECOND)));
    let (ask, manner, answer) = store.asked().await;
    assert_eq!(manner, Manner::Queue);
    answer.send(unavailable()).expect("heard");
    let (_, manner, answer) = store.asked().await;
    assert_eq!(manner, Manner::Queue, "it has no place yet");
    answer.send(unknown()).expect("heard");
    let (_, manner, answer) = store.asked().await;
    assert_eq!(manner, Manner::Again, "it may have one");
    answer.send(unavailable()).expect("heard");
    let (_, manner, answer) = store.asked().await;
    assert_eq!(manner, Manner::Again, "it may still have one");
    answer.send(taken(&ask, 200)).expect("heard");
    waiting.await.expect("no panic").expect("granted");
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_several_keys_that_may_be_granted_still_ends_with_unknown_outcome() {
    let (lines, mut store) = lines();
    let waiting = acquire(&lines, guard(&["k", "l"], within(SECOND)));
    let (_, _, answer) = store.asked().await;
    answer.send(unknown()).expect("heard");
    let ended = loop {
        match store.call().await {
            Call::Ask(_, _, answer) => drop(answer.send(unavailable())),
            Call::Withdraw(_, unsure, answer) => {
                assert!(unsure, "an answer is missing");
                answer.send(unavailable()).expect("heard");
                break waiting.await.expect("no panic").expect_err("not reachable");
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(ended, Error::UnknownOutcome { .. }), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_several_keys_of_which_the_store_never_heard_ends_with_unavailable() {
    let (lines, mut store) = lines();
    let waiting = acquire(&lines, guard(&["k", "l"], within(SECOND)));
    while !waiting.is_finished() {
        match tokio::time::timeout(Duration::from_millis(10), store.call()).await {
            Ok(Call::Ask(_, _, answer)) => drop(answer.send(unavailable())),
            Ok(other) => panic!("there is nothing to take back: {other:?}"),
            Err(_) => {}
        }
    }
    let ended = waiting.await.expect("no panic").expect_err("not reachable");
    assert!(matches!(ended, Error::Unavailable { .. }), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_over_at_its_deadline_though_the_store_takes_its_time_to_take_it_back() {
    for keys in [&["k"] as &[_], &["k", "l"]] {
        let (lines, mut store) = lines();
        let asked = Instant::now();
        let waiting = acquire(&lines, guard(keys, within(SECOND)));
        let (mut ask, _, mut answer) = store.asked().await;
        let done = loop {
            answer.send(blocked(&ask, 100)).expect("heard");
            match store.call().await {
                Call::Ask(next, _, heard) => (ask, answer) = (next, heard),
                Call::Withdraw(.., done) => break done,
                other => panic!("{other:?}"),
            }
        };
        sleep(Duration::from_millis(45)).await;
        done.send(Ok(())).expect("heard");
        let ended = waiting.await.expect("no panic").expect_err("held");
        assert!(matches!(ended, Error::TimedOut { .. }), "{ended:?}");
        let took = asked.elapsed();
        assert!(took >= SECOND && took < SECOND + Duration::from_millis(5), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_store_is_told_to_those_in_line_after_their_place_is_taken_back() {
    let (lines, mut store) = lines();
    let waiting = acquire(&lines, guard(&["k"], within(10 * SECOND)));
    let (ask, _, answer) = store.asked().await;
    answer.send(blocked(&ask, 100)).expect("heard");
    let (_, _, answer) = store.asked().await;
    answer.send(Err(Error::capacity_exceeded(&script::id(), "full"))).expect("heard");
    let (_, _, done) = store.withdrawn().await;
    assert!(!waiting.is_finished(), "it may still be granted");
    done.send(Ok(())).expect("heard");
    let refused = waiting.await.expect("no panic").expect_err("full");
    assert!(matches!(refused, Error::CapacityExceeded { .. }), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_late_copy_of_an_ask_that_was_repeated_is_taken_back_after_a_refusal() {
    let (lines, mut store) = lines();
    let asking = acquire(&lines, lease(&["k"], WaitUntil::Now));
    let (ask, _, answer) = store.asked().await;
    answer.send(unknown()).expect("heard");
    let (_, _, answer) = store.asked().await;
    answer.send(blocked(&ask, 100)).expect("heard");
    let refused = asking.await.expect("no panic").expect_err("held");
    assert!(matches!(refused, Error::Held { .. }), "{refused:?}");
    let (withdrawn, unsure, _done) = store.withdrawn().await;
    assert!(withdrawn.id == ask.id && unsure, "the first may still come");
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_could_not_be_given_back_is_forgotten_when_its_time_is_over() {
    let (lines, mut store) = lines();
    let sent = Moment::now();
    let (holder, ask) = held_by_ask(&lines, &mut store, "k", 100).await;
    let failed = release(&lines, &mut store, &holder, unavailable()).await;
    assert!(matches!(failed, Err(Error::Unavailable { .. })), "{failed:?}");
    settle().await;
    assert!(is_known(&lines, &holder, &ask), "its time isn't over");
    sleep(Duration::from_secs(31)).await;
    assert!(!is_known(&lines, &holder, &ask), "{:?}", Moment::now().saturating_since(sent));
}

#[tokio::test(start_paused = true)]
async fn an_ask_that_was_ever_left_unanswered_is_withdrawn_as_one_that_may_still_come() {
    for keys in [&["k"] as &[_], &["k", "l"]] {
        let (lines, mut store) = lines();
        let waiting = acquire(&lines, guard(keys, within(SECOND)));
        let (ask, _, answer) = store.asked().await;
        answer.send(unknown()).expect("heard");
        let (_, _, answer) = store.asked().await;
        answer.send(blocked(&ask, 100)).expect("heard");
        settle().await;
        waiting.abort();
        let (withdrawn, unsure, _done) = store.withdrawn().await;
        assert!(withdrawn.id == ask.id && unsure, "the first may still come");
    }
}

#[tokio::test(start_paused = true)]
async fn an_ask_that_may_still_come_is_taken_back_however_long_the_store_is_away() {
    let (lines, mut store) = lines();
    let waiting = acquire(&lines, guard(&["k"], within(SECOND)));
    let (ask, ..) = store.asked().await;
    waiting.abort();
    let begun = Instant::now();
    // Longer than the guard would last: the ask lies before the store for as long as that is away.
    while begun.elapsed() < 100 * SECOND {
        let (withdrawn, unsure, done) = store.withdrawn().await;
        assert!(withdrawn.id == ask.id && unsure, "it may still come");
        done.send(unavailable()).expect("heard");
    }
    store.withdrawn().await.2.send(Ok(())).expect("heard");
}

#[tokio::test(start_paused = true)]
async fn a_close_does_not_wait_for_what_could_not_be_given_back() {
    let (lines, mut store) = lines();
    let (one, first) = held_by_ask(&lines, &mut store, "k", 100).await;
    let (two, second) = held_by_ask(&lines, &mut store, "l", 200).await;
    let failed = release(&lines, &mut store, &one, unavailable()).await;
    assert!(matches!(failed, Err(Error::Unavailable { .. })), "{failed:?}");
    let begun = Instant::now();
    lines.close().await;
    let failed = release(&lines, &mut store, &two, unavailable()).await;
    assert!(matches!(failed, Err(Error::Closed { .. })), "{failed:?}");
    assert!(!is_known(&lines, &one, &first) && !is_known(&lines, &two, &second));
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_was_freed_by_force_before_its_grant_was_heard_of_is_lost() {
    for wait in [WaitUntil::Now, WaitUntil::Forever] {
        let (lines, mut store) = lines();
        let loss = locking_core::LossSignal::new();
        let asking = acquire(&lines, guard(&["k"], wait).with_guard(loss.clone()));
        let (ask, _, answer) = store.asked().await;
        lines.revoked("k", ask.id.as_str());
        answer.send(taken(&ask, 100)).expect("heard");
        asking.await.expect("no panic").expect("granted");
        assert_eq!(loss.reason(), Some(locking_core::LossReason::Revoked));
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_in_line_that_was_freed_by_force_before_its_grant_was_heard_of_is_lost() {
    let (lines, mut store) = lines();
    let holder = held(&lines, &mut store, "k", 100).await;
    for told in [true, false] {
        let request = guard(&["k"], within(10 * SECOND));
        let loss = loss_of(&request);
        let waiting = acquire(&lines, request);
        let (ask, _, answer) = store.asked().await;
        if told {
            answer.send(blocked(&ask, 100)).expect("heard");
            settle().await;
            lines.revoked("k", ask.id.as_str());
            tell(&lines, &ask, 200, TERM);
        } else {
            lines.revoked("k", ask.id.as_str());
            answer.send(taken(&ask, 300)).expect("heard");
        }
        waiting.await.expect("no panic").expect("granted, as far as it knows");
        assert_eq!(loss.reason(), Some(LossReason::Revoked), "told: {told}");
    }
    drop(holder);
}

#[tokio::test(start_paused = true)]
async fn a_guard_whose_key_the_store_grants_anew_is_lost() {
    let (lines, mut store) = lines();
    let request = guard(&["k"], WaitUntil::Now);
    let loss = loss_of(&request);
    let holder = acquire(&lines, request);
    let (ask, _, answer) = store.asked().await;
    answer.send(taken(&ask, 100)).expect("heard");
    holder.await.expect("no panic").expect("granted");
    let next = acquire(&lines, guard(&["k"], within(10 * SECOND)));
    let (ask, _, answer) = store.asked().await;
    assert_eq!(loss.reason(), None);
    // The store freed the first by force, and what it told of that is still on its way.
    answer.send(taken(&ask, 200)).expect("heard");
    next.await.expect("no panic").expect("granted");
    assert_eq!(loss.reason(), Some(LossReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_guard_whose_release_was_given_up_is_forgotten_when_its_time_is_over() {
    let (lines, mut store) = lines();
    let (lease, ask) = held_by_ask(&lines, &mut store, "k", 100).await;
    let releasing = {
        let (lines, lease) = (Arc::clone(&lines), lease.clone());
        tokio::spawn(async move { lines.release_lease(&lease).await })
    };
    let (_, answer) = store.released().await;
    releasing.abort();
    assert!(releasing.await.expect_err("aborted").is_cancelled());
    drop(answer);
    assert!(is_known(&lines, &lease, &ask), "it may be held");
    sleep(31 * SECOND).await;
    assert!(!is_known(&lines, &lease, &ask), "nothing is left of it");
}

#[tokio::test(start_paused = true)]
async fn a_guard_whose_time_is_being_set_is_not_passed_on() {
    let (lines, mut store) = lines();
    let lease = held(&lines, &mut store, "k", 100).await;
    let waiting = acquire(&lines, guard(&["k"], within(10 * SECOND)));
    let (ask, _, answer) = store.asked().await;
    answer.send(blocked(&ask, 100)).expect("heard");
    settle().await;
    let extending = {
        let (lines, lease) = (Arc::clone(&lines), lease.clone());
        tokio::spawn(
            async move { lines.extend(&lease, Expiry::new(SECOND).expect("an expiry")).await },
        )
    };
    let Call::Extend(_, answer) = store.call().await else { panic!("expected an extension") };
    assert!(!lines.pass_on(&lease), "the next one would believe in 30 s");
    answer.send(Ok(())).expect("heard");
    extending.await.expect("no panic").expect("extended");
    waiting.abort();
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_is_told_is_asked_for_where_an_earlier_ask_may_still_come() {
    let (lines, mut store) = lines();
    held(&lines, &mut store, "k", 100).await;
    let waiting = acquire(&lines, guard(&["k"], within(10 * SECOND)));
    let (ask, _, answer) = store.asked().await;
    answer.send(unknown()).expect("heard");
    let (_, _, answer) = store.asked().await;
    answer.send(blocked(&ask, 100)).expect("heard");
    settle().await;
    tell(&lines, &ask, 200, TERM);
    let (_, manner, answer) = store.asked().await;
    assert!(manner == Manner::Again && !waiting.is_finished(), "{manner:?}");
    answer.send(taken(&ask, 200)).expect("heard");
    waiting.await.expect("no panic").expect("granted");
}

#[tokio::test(start_paused = true)]
async fn a_line_asks_anew_where_the_store_takes_nothing_for_its_ask_any_more() {
    let (lines, mut store) = lines();
    held(&lines, &mut store, "k", 100).await;
    let waiting = acquire(&lines, guard(&["k"], within(10 * SECOND)));
    let (ask, _, answer) = store.asked().await;
    answer.send(blocked(&ask, 100)).expect("heard");
    let (again, manner, answer) = store.asked().await;
    assert!(again.id == ask.id && manner == Manner::Again, "{manner:?}");
    answer.send(Ok(Answer::Void)).expect("heard");
    let (withdrawn, unsure, done) = store.withdrawn().await;
    assert!(withdrawn.id == ask.id && unsure, "what is left of it is given back");
    done.send(Ok(())).expect("heard");
    let (anew, manner, answer) = store.asked().await;
    assert!(anew.id != ask.id && manner == Manner::Queue, "{manner:?}");
    // What is told of the earlier one is nobody's any more.
    tell(&lines, &ask, 200, TERM);
    settle().await;
    assert!(!waiting.is_finished());
    answer.send(taken(&anew, 300)).expect("heard");
    let grant = waiting.await.expect("no panic").expect("granted");
    assert_eq!(grant.lease.token(), FencingToken::new(300));
}

#[tokio::test(start_paused = true)]
async fn a_request_for_several_keys_asks_anew_and_gives_back_what_is_left_of_the_void_ask() {
    let (lines, mut store) = lines();
    let waiting = acquire(&lines, guard(&["k", "l"], within(10 * SECOND)));
    let (ask, _, answer) = store.asked().await;
    answer.send(Ok(Answer::Void)).expect("heard");
    let (withdrawn, _, done) = store.withdrawn().await;
    assert_eq!(withdrawn.id, ask.id);
    done.send(Ok(())).expect("heard");
    let (anew, manner, answer) = store.asked().await;
    assert!(anew.id != ask.id && manner == Manner::Queue, "{manner:?}");
    answer.send(taken(&anew, 300)).expect("heard");
    waiting.await.expect("no panic").expect("granted");
}

#[tokio::test(start_paused = true)]
async fn a_void_ask_that_does_not_wait_is_refused_as_unavailable() {
    let (lines, mut store) = lines();
    let asking = acquire(&lines, guard(&["k"], WaitUntil::Now));
    let (_, _, answer) = store.asked().await;
    answer.send(Ok(Answer::Void)).expect("heard");
    let refused = asking.await.expect("no panic").expect_err("no session");
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_void_ask_is_given_back_also_where_nobody_waits_any_more() {
    let (lines, mut store) = lines();
    let waiting = acquire(&lines, guard(&["k"], within(10 * SECOND)));
    let (ask, _, answer) = store.asked().await;
    answer.send(unknown()).expect("heard");
    let (_, _, answer) = store.asked().await;
    answer.send(Ok(Answer::Void)).expect("heard");
    waiting.abort();
    let (withdrawn, unsure, _done) = store.withdrawn().await;
    assert!(withdrawn.id == ask.id && unsure, "the first may have been granted");
}

#[tokio::test(start_paused = true)]
async fn a_wait_whose_asks_are_void_to_the_end_finds_the_store_unavailable() {
    for keys in [&["k"] as &[_], &["k", "l"]] {
        let (lines, mut store) = lines();
        let waiting = acquire(&lines, guard(keys, within(SECOND)));
        let refused = loop {
            tokio::select! {
                refused = async { store.call().await } => match refused {
                    Call::Ask(_, _, answer) => answer.send(Ok(Answer::Void)).expect("heard"),
                    Call::Withdraw(_, _, done) => done.send(Ok(())).expect("heard"),
                    other => panic!("{other:?}"),
                },
                () = sleep(2 * SECOND) => break waiting.await.expect("no panic"),
            }
        };
        let refused = refused.expect_err("no session");
        assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
    }
}
