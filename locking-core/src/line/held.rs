use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

use super::ask::{Ask, AskId};
use crate::grant::Grant;
use crate::key::LockKey;
use crate::lease::{Lease, LeasedKey};
use crate::loss::{LossReason, LossSignal};
use crate::moment::Moment;
use crate::owner::OwnerId;
use crate::provider_id::ProviderId;
use crate::request::{AcquireRequest, Hold};
use crate::session::Session;
use crate::time::Expiry;
use crate::token::FencingToken;

/// How often a key is passed on inside the process before other processes have their turn.
pub(super) const PASSES: u64 = 16;

/// For how long it is passed on in one turn.
const SLICE: Duration = Duration::from_millis(10);

/// After how long the store is told again who holds a key, when it couldn't be told.
const AGAIN: Duration = Duration::from_millis(200);

/// What a lease is to the line of its key.
#[derive(Debug)]
pub(super) enum Standing {
    /// The store decides. If it is a guard of this client, by the ask to which it granted the hold: the
    /// token may be one that the store wasn't told yet, because the key was passed on since. Else by what
    /// it knows of the token.
    AtStore(Option<AskId>),
    /// It was passed on, and is another holder's now: this lease is lost.
    Superseded,
}

/// A guard's hold on a key, by this client.
#[derive(Debug)]
pub(super) struct Held {
    /// The ask to which the store granted it.
    pub(super) origin: AskId,
    /// The token under which the store granted it.
    first_token: FencingToken,
    /// The token of who holds it now.
    token: FencingToken,
    /// The tokens that are reserved for those to whom it is passed on.
    spare: Range<u64>,
    /// Who holds it now.
    owner: Option<OwnerId>,
    /// The expiry that was asked for: it is passed on only to those who ask for the same.
    pub(super) expiry: Option<Expiry>,
    /// From when `term` counts: no later than the store counts it.
    counted_from: Moment,
    term: Duration,
    /// What it hangs on as well.
    session: Option<Session>,
    slice_ends: Instant,
    pub(super) loss: LossSignal,
    /// Whether it is on one key, so that a line can pass it on.
    alone: bool,
    /// Whether it stays with its holder: its time is set, or was, by an extend.
    stays: bool,
    /// How many calls give it back to the store.
    releases: u32,
    /// Since when the store is wrong about who holds it.
    misnamed_since: Option<Instant>,
    /// When it ends by itself, where it couldn't be given back.
    forget_at: Option<Instant>,
}

impl Held {
    /// The hold that `ask` was granted; `None` if it is no guard's.
    pub(super) fn new(
        ask: &Ask,
        token: FencingToken,
        counted_from: Moment,
        term: Option<Duration>,
        session: Option<Session>,
    ) -> Option<Self> {
        let request = &ask.request;
        let Hold::Guard(loss) = &request.hold else { return None };
        let expiry = request.expiry;
        Some(Self {
            origin: ask.id.clone(),
            first_token: token,
            token,
            spare: token.get() + 1..token.get() + 1 + ask.spare_tokens,
            owner: request.owner.clone(),
            expiry,
            counted_from,
            term: term.or(expiry.map(Expiry::get)).unwrap_or(Duration::MAX),
            session,
            slice_ends: Instant::now() + SLICE,
            loss: loss.clone(),
            alone: request.keys.len() == 1,
            stays: false,
            releases: 0,
            misnamed_since: None,
            forget_at: None,
        })
    }

    /// Makes it another waiter's: what the ask was granted meanwhile serves whoever is first now.
    pub(super) fn name(&mut self, request: &AcquireRequest) {
        if let Hold::Guard(loss) = &request.hold {
            self.loss = loss.clone();
        }
        if self.owner != request.owner {
            self.owner.clone_from(&request.owner);
            self.misnamed_since.get_or_insert_with(Instant::now);
        }
    }

    /// Passes it on to this request, with a token of its own. `None` if it has to go back to the store.
    pub(super) fn pass_on(&mut self, request: &AcquireRequest) -> Option<()> {
        let now = Instant::now();
        if !self.can_go_to(request) || now >= self.slice_ends {
            return None;
        }
        self.token = FencingToken::new(self.spare.next()?);
        self.misnamed_since = Some(now);
        self.name(request);
        Some(())
    }

    /// Whether it may be passed on to this request, as long as its turn lasts.
    pub(super) fn can_go_to(&self, request: &AcquireRequest) -> bool {
        !self.is_ending() && !self.stays && self.serves(request) && self.is_fresh()
    }

    /// Begins another turn in place of the release that asked for it, at `asked`: nobody else waits, and the
    /// store has set its time once more and drawn these tokens. Not if another release is under way, which
    /// may free it at any time.
    pub(super) fn turn_again(&mut self, asked: Moment, spare: Range<u64>) {
        if self.releases == 1 {
            self.releases = 0;
            self.spare = spare;
            self.counted_from = asked;
            self.term = self.expiry.map_or(Duration::MAX, Expiry::get);
            self.slice_ends = Instant::now() + SLICE;
        }
    }

    /// Whether this request could have it.
    pub(super) fn serves(&self, request: &AcquireRequest) -> bool {
        self.alone && matches!(request.hold, Hold::Guard(_)) && request.expiry == self.expiry
    }

    /// Whether so much of its time is left that who gets it now needn't ask the store first.
    pub(super) fn is_fresh(&self) -> bool {
        let ends = self.counted_from.saturating_add(self.term);
        let is_alive = self.session.as_ref().is_none_or(Session::is_alive);
        is_alive && ends.saturating_since(Moment::now()) > self.term / 2
    }

    pub(super) fn grant(&self, provider: &ProviderId, key: &LockKey) -> Grant {
        let term = (Some(self.term) != self.expiry.map(Expiry::get)).then_some(self.term);
        let grant = Grant::new(self.lease(provider, key)).with_counted_from(self.counted_from);
        Grant { session: self.session.clone(), ..grant.with_term(term) }
    }

    pub(super) fn lease(&self, provider: &ProviderId, key: &LockKey) -> Lease {
        let key = LeasedKey::taken(key.clone(), self.token);
        Lease::of_one(provider.clone(), self.owner.clone(), key)
    }

    /// What a lease with this token is to it.
    pub(super) fn standing(&self, token: FencingToken) -> Standing {
        if token == self.token {
            Standing::AtStore(Some(self.origin.clone()))
        } else if token >= self.first_token && token < self.token {
            Standing::Superseded
        } else {
            Standing::AtStore(None)
        }
    }

    /// The store has set its time once more, and knows who holds it.
    pub(super) fn extended(&mut self, asked: Moment, expiry: Expiry) {
        self.counted_from = asked;
        self.term = expiry.get();
        self.misnamed_since = None;
    }

    /// Since when the store is wrong about who holds it.
    pub(super) fn misnamed_since(&self) -> Option<Instant> {
        self.misnamed_since
    }

    /// The store was told that the holder with this token has it; if that failed, it is told later.
    pub(super) fn renamed(&mut self, token: FencingToken, done: bool) {
        if token == self.token {
            self.misnamed_since = (!done && !self.is_ending()).then(|| Instant::now() + AGAIN);
        }
    }

    /// The store has granted the key anew. If it wasn't given back, it is lost.
    pub(super) fn superseded(self) {
        if !self.is_ending() {
            self.loss.signal(LossReason::Revoked);
        }
    }

    /// Whether the store granted it after this one.
    pub(super) fn was_granted_after(&self, other: &Self) -> bool {
        self.first_token > other.first_token
    }

    /// It stays with its holder: the next one gets it from the store.
    pub(super) fn keep(&mut self) {
        self.stays = true;
    }

    /// It goes back to the store, and is passed on no more unless it has [another turn](Self::turn_again).
    pub(super) fn end(&mut self) {
        self.releases += 1;
        self.misnamed_since = None;
    }

    fn is_ending(&self) -> bool {
        self.releases > 0
    }

    /// It couldn't be given back, and is forgotten when it has ended by itself.
    pub(super) fn abandon(&mut self) {
        const LONGEST: Duration = Duration::from_secs(3600);
        let ends = self.counted_from.saturating_add(self.term);
        let left = ends.saturating_since(Moment::now()).min(LONGEST);
        self.forget_at = Some(Instant::now() + left);
    }

    pub(super) fn forget_at(&self) -> Option<Instant> {
        self.forget_at
    }

    pub(super) fn token(&self) -> FencingToken {
        self.token
    }
}
