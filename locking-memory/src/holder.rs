use locking_core::{FencingToken, HoldKind, LockInfo, LockKey, LossSignal, OwnerId};
use tokio::time::Instant;

use crate::claim::Now;
use crate::sharing::{End, Share, Sharing};

/// Who holds a key.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) owner: Option<OwnerId>,
    pub(crate) token: u64,
    /// When it ends by itself; `None`: never.
    pub(crate) expires: Option<Instant>,
    /// A guard's line to its process.
    pub(crate) guard: Option<LossSignal>,
    /// Where other requests of its owner were granted it too: what becomes of it when some of them
    /// never learn of that.
    sharing: Option<Box<Sharing>>,
}

impl Holder {
    pub(crate) fn new(
        owner: Option<OwnerId>,
        token: u64,
        expires: Option<Instant>,
        guard: Option<LossSignal>,
    ) -> Self {
        Self { owner, token, expires, guard, sharing: None }
    }

    pub(crate) fn kind(&self) -> HoldKind {
        if self.guard.is_some() { HoldKind::Guard } else { HoldKind::Lease }
    }

    /// Whether its owner's other requests share the hold.
    pub(crate) fn is_shared(&self) -> bool {
        self.guard.is_none() && self.owner.is_some()
    }

    /// Whether it is the hold that a key of an owner's lease is about, and no successor.
    pub(crate) fn is_of(&self, owner: Option<&OwnerId>, token: u64) -> bool {
        self.token == token && self.owner.as_ref() == owner
    }

    pub(crate) fn has_expired(&self, now: &Now) -> bool {
        self.expires.is_some_and(|expires| expires <= now.get())
    }

    /// Re-entry: a longer expiry extends, a shorter or absent one changes nothing. A grant that
    /// isn't told at once can be given up.
    pub(crate) fn reenter(&mut self, grant: u64, expires: Option<Instant>, is_told: bool) {
        let (token, current) = (self.token, End::from(self.expires));
        let unchanged = || self.sharing.as_ref().and_then(|sharing| sharing.sure_end(token));
        let until = expires.map(End::At).or_else(unchanged).unwrap_or(current);
        self.expires = until.max(current).instant();
        let alone = || Box::new(Sharing::by(Share { grant: token, until: current }));
        self.sharing.get_or_insert_with(alone).add(Share { grant, until }, is_told);
    }

    /// Sets its remaining time, whoever was granted more or less before.
    pub(crate) fn extend(&mut self, expires: Instant) {
        self.expires = Some(expires);
        if let Some(sharing) = &mut self.sharing {
            sharing.set(End::At(expires));
        }
    }

    /// Notes that a grant was learned of. Answers whether the hold is as good as taken by it: the
    /// grant that took it was given up, and of no other one was learned.
    pub(crate) fn tell(&mut self, grant: u64) -> bool {
        let token = self.token;
        self.sharing.as_mut().is_some_and(|sharing| sharing.tell(grant, token))
    }

    /// Gives up a grant that nobody will learn of. Answers whether anybody else has one.
    pub(crate) fn give_up(&mut self, grant: u64) -> bool {
        let Some(sharing) = &mut self.sharing else { return self.token != grant };
        sharing.give_up(grant);
        let end = sharing.end();
        self.expires = end.map_or(self.expires, End::instant);
        end.is_some()
    }

    pub(crate) fn info(&self, key: &LockKey, waiters: usize, now: &Now) -> LockInfo {
        let left = self.expires.map(|expires| expires.saturating_duration_since(now.get()));
        LockInfo::new(key.clone(), FencingToken::new(self.token), self.kind())
            .with_owner(self.owner.clone())
            .with_expires_in(left)
            .with_waiters(waiters)
    }
}
