use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::ask::{Answer, Ask, AskId, Manner};
use crate::error::Result;
use crate::lease::Lease;
use crate::provider_id::ProviderId;
use crate::time::Expiry;
use crate::token::FencingToken;

/// A store that keeps a queue of those who wait, as [`Lines`](super::Lines) needs it.
///
/// # Contract
///
/// - The queue of a key is served in the order in which its asks came. When a key becomes free, or is
///   found expired by whoever asks, it is granted to the first ask in the queue that can have all of
///   its keys, and the client that asked is told ([`Lines::notice`](super::Lines::notice)).
/// - A grant from the queue is short: it ends by itself unless it is confirmed, by an ask
///   [`Again`](Manner::Again) or by an extend. A client that can't be reached is passed over.
/// - Every method but [`release_or_keep`](Self::release_or_keep) is idempotent for its ask, and safe to
///   repeat after an answer was lost, also where the server carries out the earlier call after the later one.
/// - Futures may be dropped at any await point.
/// - An error other than [`UnknownOutcome`](crate::Error::UnknownOutcome) means that the call wasn't
///   carried out.
pub trait LineStore: fmt::Debug + Send + Sync + 'static {
    /// The id of its provider, for errors.
    fn id(&self) -> &ProviderId;

    /// For how long a call that doesn't wait is repeated when its answer was lost. Default: 2 s.
    fn patience(&self) -> Duration {
        Duration::from_secs(2)
    }

    /// Asks for the keys: one command. If the answer to an earlier copy of the ask was lost (`repeated`),
    /// that one may still come: once this one is granted, the store takes nothing for it any more.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::Error::Unavailable), [`UnknownOutcome`](crate::Error::UnknownOutcome) or
    /// [`CapacityExceeded`](crate::Error::CapacityExceeded); a key that is held is an answer.
    fn ask(
        &self,
        ask: &Ask,
        manner: Manner,
        repeated: bool,
    ) -> impl Future<Output = Result<Answer>> + Send;

    /// Takes an ask out of the queue and gives back what it was granted. If an answer to it was lost
    /// (`unsure`), the store sees to it that the ask isn't granted afterwards either.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::Error::Unavailable) or [`UnknownOutcome`](crate::Error::UnknownOutcome).
    fn withdraw(&self, ask: &Ask, unsure: bool) -> impl Future<Output = Result<()>> + Send;

    /// Sets the remaining time of every key of a lease, or of none. With an `origin`, the lease's one key
    /// is meant by the ask to which the store granted it: its token may be one that the store wasn't told
    /// yet, because the key was passed on since, and the store notes it, with the lease's owner. Without one,
    /// a guard on one key isn't meant if another client was granted it: that client may have passed it on since,
    /// with this token still known to the store.
    ///
    /// # Errors
    ///
    /// [`Lost`](crate::Error::Lost) with the first key that isn't held so,
    /// [`Unavailable`](crate::Error::Unavailable) or [`UnknownOutcome`](crate::Error::UnknownOutcome).
    fn extend(
        &self,
        lease: &Lease,
        expiry: Expiry,
        origin: Option<&AskId>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Gives back what a lease took. With an `origin`, whatever that ask holds, as in
    /// [`extend`](Self::extend).
    ///
    /// # Errors
    ///
    /// [`Lost`](crate::Error::Lost) with the first key that wasn't held so, the others given back;
    /// [`Unavailable`](crate::Error::Unavailable) or [`UnknownOutcome`](crate::Error::UnknownOutcome).
    fn release_lease(
        &self,
        lease: &Lease,
        origin: Option<&AskId>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Gives back a guard's hold on one key, as [`release_lease`](Self::release_lease) does, unless nobody but
    /// this client waits for the key, with one ask at most: then the hold lasts for the whole expiry once
    /// more, the store notes this lease's token and owner, and keeps `count` new tokens free for those to whom
    /// it is passed on inside the process next. Answers the first of them; `None`: the hold is given back.
    /// Default: it always is.
    ///
    /// It is asked once. Where its answer is lost, or isn't waited for any more, the hold is passed on to
    /// nobody, and whoever still wants it given back calls [`release_lease`](Self::release_lease).
    ///
    /// # Errors
    ///
    /// Those of [`release_lease`](Self::release_lease), and
    /// [`CapacityExceeded`](crate::Error::CapacityExceeded).
    fn release_or_keep(
        &self,
        lease: &Lease,
        origin: &AskId,
        expiry: Option<Expiry>,
        count: u64,
    ) -> impl Future<Output = Result<Option<FencingToken>>> + Send {
        let _ = (expiry, count);
        async { self.release_lease(lease, Some(origin)).await.map(|()| None) }
    }

    /// Tells the store who holds a key that was passed on inside the process: the hold that it granted
    /// to `origin` is now this lease's. Nothing happens if `origin` doesn't hold the key any more.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::Error::Unavailable) or [`UnknownOutcome`](crate::Error::UnknownOutcome).
    fn rename(&self, origin: &AskId, lease: &Lease) -> impl Future<Output = Result<()>> + Send;
}
