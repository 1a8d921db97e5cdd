use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use foldhash::fast::RandomState;
use locking_core::LockKey;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::claim::Claim;
use crate::granted::Granted;
use crate::shard::OwnerMark;

/// How often a waiter for several keys is passed over before keys are kept for it: what the contract
/// allows between processes.
const PASSES: u32 = 16;

/// For how long they are kept at first; twice as long each further time, so that it comes to be as long as
/// the others hold their keys. It has an end, because what the waiter still lacks may be held for hours,
/// or by somebody who waits for just what is kept.
const KEEPING: Duration = Duration::from_millis(25);

/// How often that time is doubled at most: to 0.8 s, as a waiter that is stopped costs the others less than a second.
const DOUBLINGS: u32 = 5;

/// Those who wait for a key, in the order in which they came.
///
/// A waiter for several keys stands in the queue of one that it can't have; when that one becomes
/// free and another is held, it moves to that one's queue and keeps its place by its ticket.
/// Most keys have no queue: it costs them one word.
#[derive(Debug, Default)]
pub(crate) struct Queue(Option<Box<Line>>);

#[derive(Debug, Default)]
struct Line {
    waiters: VecDeque<Arc<Waiter>>,
    /// How many of them want leases for an owner of this mark: who looks for one needn't read all.
    owners: HashMap<OwnerMark, usize, RandomState>,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |line| line.waiters.len())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.0.iter().flat_map(|line| line.waiters.iter().map(|waiter| &**waiter))
    }

    pub(crate) fn first(&self) -> Option<&Arc<Waiter>> {
        self.0.as_ref()?.waiters.front()
    }

    /// The first that passes a test which none but leases for owners of this mark do.
    pub(crate) fn first_of(
        &self,
        mark: OwnerMark,
        passes: impl Fn(&Waiter) -> bool,
    ) -> Option<&Arc<Waiter>> {
        let line = self.0.as_ref().filter(|line| line.owners.contains_key(&mark))?;
        line.waiters.iter().find(|waiter| passes(waiter))
    }

    pub(crate) fn insert(&mut self, waiter: Arc<Waiter>) {
        let Line { waiters, owners } = &mut **self.0.get_or_insert_default();
        if let Some(mark) = waiter.mark {
            *owners.entry(mark).or_default() += 1;
        }
        // Most come last: a search would read waiters of tasks that sleep.
        if waiters.back().is_none_or(|last| last.ticket < waiter.ticket) {
            waiters.push_back(waiter);
        } else {
            waiters.insert(place_of(waiters, waiter.ticket), waiter);
        }
    }

    /// Takes a waiter out, if it is there.
    pub(crate) fn remove(&mut self, waiter: &Waiter) -> bool {
        self.take(waiter.ticket).is_some()
    }

    /// Takes out the waiter with this ticket, if it is there.
    pub(crate) fn take(&mut self, ticket: u64) -> Option<Arc<Waiter>> {
        let line = self.0.as_mut()?;
        let waiters = &mut line.waiters;
        // Most leave from the front.
        let is_first = waiters.front().is_some_and(|first| first.ticket == ticket);
        let waiter = if is_first {
            waiters.pop_front()?
        } else {
            let place = place_of(waiters, ticket);
            waiters.get(place).filter(|waiter| waiter.ticket == ticket)?;
            waiters.remove(place)?
        };
        line.forget(&waiter);
        if line.waiters.is_empty() {
            self.0 = None;
        }
        Some(waiter)
    }

    /// Takes out those that a test picks.
    pub(crate) fn take_out(&mut self, picked: impl Fn(&Waiter) -> bool) -> Vec<Arc<Waiter>> {
        let Some(line) = &mut self.0 else { return Vec::new() };
        let taken: Vec<_> = line.waiters.iter().filter(|waiter| picked(waiter)).cloned().collect();
        line.waiters.retain(|waiter| !picked(waiter));
        taken.iter().for_each(|waiter| line.forget(waiter));
        if line.waiters.is_empty() {
            self.0 = None;
        }
        taken
    }
}

impl Line {
    /// Counts out one that has left.
    fn forget(&mut self, waiter: &Waiter) {
        let Some(mark) = waiter.mark else { return };
        if let Some(count) = self.owners.get_mut(&mark) {
            *count -= 1;
            if *count == 0 {
                self.owners.remove(&mark);
            }
        }
    }
}

/// Where a ticket is in a queue, or would be.
fn place_of(waiters: &VecDeque<Arc<Waiter>>, ticket: u64) -> usize {
    waiters.partition_point(|other| other.ticket < ticket)
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) claim: Claim,
    /// That of its owner, if it wants a lease for one.
    mark: Option<OwnerMark>,
    /// Who came first has the smaller one.
    pub(crate) ticket: u64,
    /// Holds with a token from here on up came after it.
    pub(crate) since: u64,
    /// How often it could have had one of its keys, but not all.
    passes: Mutex<Passes>,
    pub(crate) deadline: Option<Instant>,
    /// The number of its client.
    pub(crate) client: u64,
    /// Its client, where it can come to stand in a queue that a close has looked at already: if it waits
    /// for several keys.
    moves_for: Option<Arc<Client>>,
    /// Changed only under the mutex of the shard in whose queue it stands.
    place: Mutex<Place>,
}

/// How often a waiter was passed over, and until when keys are kept for it on that account.
#[derive(Debug, Default)]
struct Passes {
    count: u32,
    keep_until: Option<Instant>,
}

/// Where a waiter is.
#[derive(Debug)]
enum Place {
    /// In the queue of this key of its claim; `look_at` is when it looks whether the holder's time is
    /// over.
    Queued { at: usize, look_at: Option<Instant>, waker: Option<Waker>, has_timer: bool },
    /// Its keys are its own, and it hasn't been told yet.
    Granted(Granted),
    /// Its client was closed.
    Closed,
    /// It has gone, with or without its keys.
    Gone,
}

/// What came of waiting.
#[derive(Debug)]
pub(crate) enum Outcome {
    Granted(Granted),
    Closed,
}

impl Waiter {
    pub(crate) fn new(
        claim: Claim,
        mark: Option<OwnerMark>,
        ticket: u64,
        since: u64,
        client: &Arc<Client>,
        (at, look_at): (usize, Option<Instant>),
    ) -> Self {
        let place = Place::Queued { at, look_at, waker: None, has_timer: false };
        Self {
            mark,
            ticket,
            since,
            passes: Mutex::default(),
            deadline: claim.deadline(),
            client: client.number,
            moves_for: (claim.keys().len() > 1).then(|| Arc::clone(client)),
            place: Mutex::new(place),
            claim,
        }
    }

    /// Whether its client is granted nothing any more, so that it mustn't move to another queue.
    pub(crate) fn is_refused(&self) -> bool {
        self.moves_for.as_ref().is_some_and(|client| client.is_refused())
    }

    /// Counts that it was passed over. From some time on that gives it a while for which its keys are
    /// kept; answers until when.
    pub(crate) fn count_pass(&self) -> Option<Instant> {
        let mut passes = self.passes.lock();
        passes.count += 1;
        if passes.count > PASSES {
            let doublings = (passes.count - PASSES - 1).min(DOUBLINGS);
            passes.keep_until = Some(Instant::now() + KEEPING * 2_u32.pow(doublings));
        }
        passes.keep_until.filter(|until| *until > Instant::now())
    }

    /// Whether keys may be kept for it, or have been.
    pub(crate) fn has_had_keys_kept(&self) -> bool {
        self.passes.lock().keep_until.is_some()
    }

    /// The key in whose queue it stands, if it still does.
    pub(crate) fn queued_at(&self) -> Option<&LockKey> {
        match &*self.place.lock() {
            Place::Queued { at, .. } => Some(&self.claim.keys()[*at]),
            _ => None,
        }
    }

    /// Whether it stands in the queue of this key.
    pub(crate) fn is_queued_at(&self, key: &LockKey) -> bool {
        self.queued_at() == Some(key)
    }

    /// Notes that it stands in the queue of another key of its claim now, and when what is in its way there
    /// ends. Its timer is for the one before.
    pub(crate) fn move_to(&self, to: usize, ends: Option<Instant>) {
        if let Place::Queued { at, look_at, waker, .. } = &mut *self.place.lock() {
            (*at, *look_at) = (to, ends);
            if let Some(waker) = waker {
                waker.wake_by_ref();
            }
        }
    }

    /// Ends its wait. Answers whom to wake for it, not under a shard's mutex: that can be a system
    /// call.
    #[must_use]
    pub(crate) fn settle(&self, outcome: Outcome) -> Option<Waker> {
        let ended = match outcome {
            Outcome::Granted(granted) => Place::Granted(granted),
            Outcome::Closed => Place::Closed,
        };
        std::mem::replace(&mut *self.place.lock(), ended).into_waker()
    }

    /// Sees to it that it looks at its key at `at`, at the latest.
    pub(crate) fn look_by(&self, at: Instant) {
        let mut place = self.place.lock();
        let Place::Queued { look_at, waker, .. } = &mut *place else { return };
        let wakes_in_time = earliest(*look_at, self.deadline).is_some_and(|wakes| wakes <= at);
        if !wakes_in_time {
            *look_at = Some(at);
            // It sets its timer anew.
            if let Some(waker) = waker {
                waker.wake_by_ref();
            }
        }
    }

    /// Adds its waker if it has no timer and must wake by itself by then. Answers whether it must
    /// later.
    pub(crate) fn remind(&self, by: Option<Instant>, due: &mut Vec<Waker>) -> bool {
        let place = self.place.lock();
        let Place::Queued { look_at, waker, has_timer: false, .. } = &*place else { return false };
        let Some(wakes_at) = earliest(*look_at, self.deadline) else { return false };
        let is_due = by.is_none_or(|by| wakes_at <= by);
        due.extend(waker.as_ref().filter(|_| is_due).cloned());
        !is_due
    }

    /// Sets when it looks at its key, as it stands there itself.
    pub(crate) fn look_at(&self, at: Option<Instant>) {
        if let Place::Queued { look_at, .. } = &mut *self.place.lock() {
            *look_at = at;
        }
    }

    /// What came of its wait, told once; while it waits, when it must wake by itself. Its task is
    /// woken when either changes.
    pub(crate) fn poll(
        &self,
        context: &Context<'_>,
        is_timed: bool,
    ) -> Result<Outcome, Option<Instant>> {
        let mut place = self.place.lock();
        if let Place::Queued { look_at, waker, has_timer, .. } = &mut *place {
            *has_timer = is_timed;
            match waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            return Err(earliest(*look_at, self.deadline));
        }
        Ok(std::mem::replace(&mut *place, Place::Gone).into_outcome())
    }

    /// What came of its wait, for whoever ends it from the outside.
    pub(crate) fn take_outcome(&self) -> Outcome {
        std::mem::replace(&mut *self.place.lock(), Place::Gone).into_outcome()
    }

    /// Marks it as gone, after it was taken out of its queue.
    pub(crate) fn leave(&self) {
        *self.place.lock() = Place::Gone;
    }
}

impl Place {
    fn into_waker(self) -> Option<Waker> {
        match self {
            Self::Queued { waker, .. } => waker,
            _ => None,
        }
    }

    fn into_outcome(self) -> Outcome {
        match self {
            Self::Granted(granted) => Outcome::Granted(granted),
            // Nobody asks twice, or one that still waits.
            Self::Closed | Self::Gone | Self::Queued { .. } => Outcome::Closed,
        }
    }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// One of the independent users of a store.
#[derive(Debug)]
pub(crate) struct Client {
    /// No other one in this process has it.
    number: u64,
    is_refused: AtomicBool,
    is_closed: AtomicBool,
}

impl Client {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { number, is_refused: AtomicBool::default(), is_closed: AtomicBool::default() }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether it is granted nothing any more.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::SeqCst)
    }

    pub(crate) fn refuse(&self) {
        self.is_refused.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }
}
