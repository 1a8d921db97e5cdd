use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use locking_core::line::{Answer, Ask, AskId, Blocked, ClientId, LineStore, Manner};
use locking_core::{
    Backoff, Error, Expiry, FencingToken, Grant, Lease, LeasedKey, LossReason, OwnerId, ProviderId,
    Result,
};

use crate::failure::Failure;
use crate::operation::{Operation, Operations};
use crate::options::RedisOptions;
use crate::pipeline::Pipeline;
use crate::reply::Reply;

/// The server's side of the lines.
pub(crate) struct Store {
    pub(crate) id: ProviderId,
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) operations: Operations,
    /// How a lock is looked at that other software holds.
    looks: Backoff,
    patience: Duration,
}

impl Store {
    pub(crate) fn new(
        id: ProviderId,
        client: ClientId,
        pipeline: Arc<Pipeline>,
        options: &RedisOptions,
    ) -> Self {
        let patience = options.redis_options.command_timeout;
        Self {
            id,
            pipeline,
            operations: Operations::new(options.namespace(), client, patience),
            looks: Backoff::new(options.default_retry_interval, options.maximum_retry_interval),
            patience,
        }
    }

    pub(crate) async fn call(&self, operation: Operation) -> Result<Reply, Failure> {
        self.pipeline.call(operation).await
    }

    /// An operation that answers which of these keys, the first being 1, isn't held as it says; 0: none.
    async fn of_held(&self, operation: Operation, keys: &[&LeasedKey]) -> Result<()> {
        let lost = self.call(operation).await.and_then(|mut reply| reply.integer());
        self.lost(lost.map_err(|failure| failure.into_error(&self.id))?, keys)
    }

    /// The answer of such an operation.
    fn lost(&self, at: i64, keys: &[&LeasedKey]) -> Result<()> {
        let lost = usize::try_from(at).ok().and_then(|at| keys.get(at.checked_sub(1)?));
        match lost {
            Some(leased) => Err(Error::lost(&self.id, leased.key.clone(), LossReason::Expired)),
            None => Ok(()),
        }
    }

    fn answer(&self, ask: &Ask, mut reply: Reply) -> Result<Answer, Failure> {
        match reply.word() {
            "granted" => {
                let mut keys = Vec::with_capacity(ask.request.keys.len());
                for key in &ask.request.keys {
                    let token = FencingToken::new(reply.unsigned()?);
                    let taken = reply.text()? == "t";
                    keys.push(if taken {
                        LeasedKey::taken(key.clone(), token)
                    } else {
                        LeasedKey::reentered(key.clone(), token)
                    });
                }
                let owner = ask.request.owner.clone();
                Ok(Answer::Granted(Grant::new(Lease::new(self.id.clone(), owner, keys))))
            }
            // All of them, with one token.
            "taken" => {
                let (token, owner) = (FencingToken::new(reply.unsigned()?), &ask.request.owner);
                let keys = ask.request.keys.iter();
                let taken = keys.map(|key| LeasedKey::taken(key.clone(), token));
                Ok(Answer::Granted(Grant::new(Lease::new(self.id.clone(), owner.clone(), taken))))
            }
            "blocked" => {
                let at = usize::try_from(reply.integer()?).unwrap_or(0);
                let key =
                    ask.request.keys.get(at.wrapping_sub(1)).ok_or_else(Failure::unexpected)?;
                let ends_in = u64::try_from(reply.integer()?).ok().map(Duration::from_millis);
                let owner = OwnerId::new(reply.text()?).ok();
                let foreign = reply.integer()? == 1;
                let newest = FencingToken::new(reply.unsigned()?);
                Ok(Answer::Blocked(
                    Blocked::on(key.clone(), newest)
                        .with_ends_in(ends_in)
                        .with_owner(owner)
                        .with_looks(foreign.then(|| self.looks.clone())),
                ))
            }
            "withdrawn" => Ok(Answer::Void),
            _ => Err(Failure::unexpected()),
        }
    }
}

impl LineStore for Store {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn patience(&self) -> Duration {
        self.patience
    }

    async fn ask(&self, ask: &Ask, manner: Manner, repeated: bool) -> Result<Answer> {
        let operation = self.operations.acquire(ask, manner, repeated);
        let reply = match operation {
            Some(operation) => self.call(operation).await,
            None => Err(Failure::closed()),
        };
        reply
            .and_then(|reply| self.answer(ask, reply))
            .map_err(|failure| failure.into_error(&self.id))
    }

    async fn withdraw(&self, ask: &Ask, unsure: bool) -> Result<()> {
        let done = self.call(self.operations.withdraw(ask, unsure)).await;
        done.map(drop).map_err(|failure| failure.into_error(&self.id))
    }

    async fn extend(&self, lease: &Lease, expiry: Expiry, origin: Option<&AskId>) -> Result<()> {
        let operation = self.operations.extend(lease, expiry, origin);
        self.of_held(operation, &lease.keys().iter().collect::<Vec<_>>()).await
    }

    async fn release_lease(&self, lease: &Lease, origin: Option<&AskId>) -> Result<()> {
        let taken: Vec<_> = lease.taken().collect();
        if taken.is_empty() {
            return Ok(());
        }
        self.of_held(self.operations.release_lease(&taken, origin), &taken).await
    }

    async fn release_or_keep(
        &self,
        lease: &Lease,
        origin: &AskId,
        expiry: Option<Expiry>,
        count: u64,
    ) -> Result<Option<FencingToken>> {
        let operation = self.operations.release_or_keep(lease, origin, expiry, count);
        let answer = self.call(operation).await.and_then(|mut reply| match reply.word() {
            "kept" => reply.unsigned().map(|first| Ok(FencingToken::new(first))),
            _ => reply.integer().map(Err),
        });
        match answer.map_err(|failure| failure.into_error(&self.id))? {
            Ok(first) => Ok(Some(first)),
            Err(lost) => self.lost(lost, &[&lease.keys()[0]]).map(|()| None),
        }
    }

    async fn rename(&self, origin: &AskId, lease: &Lease) -> Result<()> {
        let done = self.call(self.operations.rename(origin, lease)).await;
        done.map(drop).map_err(|failure| failure.into_error(&self.id))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("id", &self.id).finish_non_exhaustive()
    }
}
