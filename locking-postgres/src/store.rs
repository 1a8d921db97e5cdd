use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use locking_core::line::{Answer, Ask, AskId, Blocked, ClientId, LineStore, Manner};
use locking_core::{
    Backoff, Error, Expiry, FencingToken, Grant, Hold, KeySet, Lease, LeasedKey, LossReason,
    OwnerId, ProviderId, Result,
};

use crate::acquiring::{Acquire, Acquired, Acquiring, owner};
use crate::database::Database;
use crate::ending::{Extend, Extending, Release, Releasing, token};
use crate::failure::Failure;
use crate::lane::Lane;
use crate::sessions::Sessions;
use crate::statement::{OwnValues, Statement, Statements};

/// How many statements of a kind are under way at once.
const WIDTH: usize = 2;

/// The database's side of the lines.
pub(crate) struct Store {
    pub(crate) id: ProviderId,
    client: ClientId,
    pub(crate) database: Arc<Database>,
    /// How a lock is looked at where nobody tells of its release; `None`: the server tells.
    looks: Option<Backoff>,
    leases: Arc<Lane<Acquiring>>,
    /// `None`: guards are durable, as leases are.
    guards: Option<Arc<Lane<Acquiring>>>,
    lease_ends: Arc<Lane<Releasing>>,
    guard_ends: Arc<Lane<Releasing>>,
    lease_extensions: Arc<Lane<Extending>>,
    /// By themselves: a grant from the queue has to be confirmed soon, and doesn't wait for a disk.
    guard_extensions: Arc<Lane<Extending>>,
}

impl Store {
    pub(crate) fn new(
        id: ProviderId,
        client: ClientId,
        database: Arc<Database>,
        sessions: &Arc<Sessions>,
        looks: Option<Backoff>,
    ) -> Self {
        let runtime = database.runtime.clone();
        let most = usize::try_from(database.most).unwrap_or(1);
        let width = WIDTH.min(database.connections);
        let acquiring = |logged| {
            let (database, sessions) = (Arc::clone(&database), Arc::clone(sessions));
            Lane::new(Acquiring { database, sessions, logged }, width, most, runtime.clone())
        };
        let releasing = |logged| {
            let database = Arc::clone(&database);
            Lane::new(Releasing { database, logged }, width, most, runtime.clone())
        };
        let extending = || {
            let database = Arc::clone(&database);
            Lane::new(Extending { database }, 1, most, runtime.clone())
        };
        Self {
            id,
            client,
            leases: acquiring(true),
            guards: looks.is_none().then(|| acquiring(false)),
            lease_ends: releasing(true),
            guard_ends: releasing(looks.is_some()),
            lease_extensions: extending(),
            guard_extensions: extending(),
            looks,
            database,
        }
    }

    /// Gives back the keys that an owner's leases hold, or any anonymous one; answers whether all were held.
    pub(crate) async fn release(&self, keys: &KeySet, of: Option<&OwnerId>) -> Result<bool> {
        let done = self.lease_ends.call(Release::of_owner(keys, of)).await;
        let done = done.map_err(|failure| failure.into_error(&self.id))?;
        Ok(done.iter().all(|done| *done))
    }

    fn answer(&self, ask: &Ask, answered: Acquired) -> Result<Answer, Failure> {
        let keys = &ask.request.keys;
        match usize::try_from(answered.blocked) {
            Ok(0) => {
                let mut leased = Vec::with_capacity(keys.len());
                for (at, key) in keys.iter().enumerate() {
                    let token = answered.tokens.get(at).copied().flatten();
                    let token = token.and_then(|token| u64::try_from(token).ok());
                    let token = FencingToken::new(token.ok_or_else(Failure::unexpected)?);
                    leased.push(if answered.taken.get(at) == Some(&false) {
                        LeasedKey::reentered(key.clone(), token)
                    } else {
                        LeasedKey::taken(key.clone(), token)
                    });
                }
                let owner = ask.request.owner.clone();
                let mut grant = Grant::new(Lease::new(self.id.clone(), owner, leased));
                grant.session = answered.session;
                Ok(Answer::Granted(grant))
            }
            Ok(at) => {
                let key = keys.get(at - 1).ok_or_else(Failure::unexpected)?;
                let ends_in = answered.ends_in.and_then(|ms| u64::try_from(ms).ok());
                let newest = answered.newest.and_then(|newest| u64::try_from(newest).ok());
                let owner = answered.holder.and_then(|holder| OwnerId::new(holder).ok());
                let newest = FencingToken::new(newest.ok_or_else(Failure::unexpected)?);
                Ok(Answer::Blocked(
                    Blocked::on(key.clone(), newest)
                        .with_ends_in(ends_in.map(Duration::from_millis))
                        .with_owner(owner)
                        .with_looks(self.looks.clone()),
                ))
            }
            Err(_) => Ok(Answer::Void),
        }
    }

    /// An answer that says of each key whether it is, or was, held as the call said.
    fn all_held<'a>(
        &self,
        held: Result<Vec<bool>, Failure>,
        keys: impl Iterator<Item = &'a LeasedKey>,
    ) -> Result<()> {
        let held = held.map_err(|failure| failure.into_error(&self.id))?;
        match keys.zip(held).find(|(_, held)| !held) {
            Some((leased, _)) => {
                Err(Error::lost(&self.id, leased.key.clone(), LossReason::Expired))
            }
            None => Ok(()),
        }
    }

    /// A call whose answer says no more than that it was carried out.
    async fn tell(
        &self,
        statement: fn(&Statements) -> &Statement,
        values: OwnValues,
    ) -> Result<()> {
        let done = self.database.call(statement, values).await;
        done.map(drop).map_err(|failure| failure.into_error(&self.id))
    }
}

impl LineStore for Store {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn patience(&self) -> Duration {
        self.database.command_timeout
    }

    async fn ask(&self, ask: &Ask, manner: Manner, repeated: bool) -> Result<Answer> {
        let lane = match (&ask.request.hold, &self.guards) {
            (Hold::Guard(_), Some(guards)) => guards,
            _ => &self.leases,
        };
        let answer = match Acquire::new(ask, manner, repeated) {
            Some(acquire) => lane.call(acquire).await,
            None => Err(Failure::closed()),
        };
        answer
            .and_then(|answered| self.answer(ask, answered))
            .map_err(|failure| failure.into_error(&self.id))
    }

    async fn withdraw(&self, ask: &Ask, unsure: bool) -> Result<()> {
        let keys = ask.request.keys.iter().map(|key| key.as_str().to_owned());
        let values: OwnValues = vec![
            Box::new(self.database.most),
            Box::new(self.database.patience()),
            Box::new(unsure),
            Box::new(ask.id.as_str().to_owned()),
            Box::new(keys.collect::<Vec<_>>()),
        ];
        self.tell(|statements| &statements.withdraw, values).await
    }

    async fn extend(&self, lease: &Lease, expiry: Expiry, origin: Option<&AskId>) -> Result<()> {
        let lane = if origin.is_some() { &self.guard_extensions } else { &self.lease_extensions };
        let done = lane.call(Extend::new(lease, expiry, &self.client, origin)).await;
        self.all_held(done, lease.keys().iter())
    }

    async fn release_lease(&self, lease: &Lease, origin: Option<&AskId>) -> Result<()> {
        let taken: Vec<_> = lease.taken().collect();
        if taken.is_empty() {
            return Ok(());
        }
        let lane = if origin.is_some() { &self.guard_ends } else { &self.lease_ends };
        let done = lane.call(Release::of_lease(&taken, &self.client, origin)).await;
        self.all_held(done, taken.into_iter())
    }

    async fn rename(&self, origin: &AskId, lease: &Lease) -> Result<()> {
        let leased = &lease.keys()[0];
        let values: OwnValues = vec![
            Box::new(self.database.most),
            Box::new(self.database.patience()),
            Box::new(leased.key.as_str().to_owned()),
            Box::new(origin.as_str().to_owned()),
            Box::new(token(leased)),
            Box::new(owner(lease.owner.as_ref())),
        ];
        self.tell(|statements| &statements.rename, values).await
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("id", &self.id).finish_non_exhaustive()
    }
}
