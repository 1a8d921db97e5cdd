use std::collections::HashMap;
use std::sync::Arc;

use locking_core::Session;
use locking_core::line::{Ask, Manner};
use locking_core::{Expiry, HoldKind, OwnerId};
use tokio_postgres::{Error as DriverError, Row};

use crate::database::Database;
use crate::failure::Failure;
use crate::lane::Batch;
use crate::lent::Lent;
use crate::sessions::{Joined, Sessions};
use crate::statement::Values;

/// An acquisition, as the database is asked for it.
#[derive(Clone, Debug)]
pub(crate) struct Acquire {
    manner: &'static str,
    repeated: bool,
    request: String,
    kind: &'static str,
    owner: String,
    ms: Option<i64>,
    keys: Vec<String>,
}

impl Acquire {
    /// `None` for a manner that isn't known here.
    pub(crate) fn new(ask: &Ask, manner: Manner, repeated: bool) -> Option<Self> {
        let request = &ask.request;
        Some(Self {
            manner: match manner {
                Manner::Once => "once",
                Manner::Queue => "queue",
                Manner::Again => "again",
                Manner::Reenter => "reenter",
                _ => return None,
            },
            repeated,
            request: ask.id.as_str().to_owned(),
            kind: match (request.hold.kind(), &request.owner) {
                (HoldKind::Lease, Some(_)) => "o",
                (HoldKind::Lease, None) => "a",
                _ => "g",
            },
            owner: owner(request.owner.as_ref()),
            ms: request.expiry.map(millis),
            keys: request.keys.iter().map(|key| key.as_str().to_owned()).collect(),
        })
    }
}

/// What the database answers.
#[derive(Clone, Debug)]
pub(crate) struct Acquired {
    /// 0: granted. -1: it was taken back, or its session has ended. Else the number of the first key that blocks.
    pub(crate) blocked: i32,
    pub(crate) tokens: Vec<Option<i64>>,
    pub(crate) taken: Vec<bool>,
    pub(crate) ends_in: Option<i64>,
    pub(crate) holder: Option<String>,
    pub(crate) newest: Option<i64>,
    /// The session that a guard hangs on.
    pub(crate) session: Option<Session>,
}

impl Acquired {
    fn read(row: &Row, session: Option<&Session>) -> Result<Self, DriverError> {
        Ok(Self {
            blocked: row.try_get(0)?,
            tokens: row.try_get::<_, Option<_>>(1)?.unwrap_or_default(),
            taken: row.try_get::<_, Option<_>>(2)?.unwrap_or_default(),
            ends_in: row.try_get(3)?,
            holder: row.try_get(4)?,
            newest: row.try_get(5)?,
            session: session.cloned(),
        })
    }
}

/// Acquisitions whose holds go into one of the two tables.
pub(crate) struct Acquiring {
    pub(crate) database: Arc<Database>,
    pub(crate) sessions: Arc<Sessions>,
    /// Whether they are durable; if not, they hang on this process's session.
    pub(crate) logged: bool,
}

impl Batch for Acquiring {
    type Operation = Acquire;
    type Reply = Acquired;

    fn keys(operation: &Acquire) -> usize {
        operation.keys.len()
    }

    fn is_alone(operation: &Acquire) -> bool {
        operation.keys.len() > 1
    }

    type Way = (Lent, Option<Joined>);

    async fn way(&self) -> Result<Self::Way, Failure> {
        let joined = if self.logged {
            self.sessions.joined()
        } else {
            Some(self.sessions.wait(self.database.command_timeout).await?)
        };
        Ok((self.database.connection().await?, joined))
    }

    async fn send(
        &self,
        (connection, joined): Self::Way,
        asked: &[Acquire],
    ) -> Result<Vec<Acquired>, Failure> {
        let number = joined.as_ref().map_or(0, |joined| joined.number);
        let session = joined.filter(|_| !self.logged).map(|Joined { session, .. }| session);
        let (database, logged) = (&self.database, self.logged);
        if let [one] = asked {
            let values: Values<'_> = &[
                &database.most,
                &database.patience(),
                &number,
                &logged,
                &one.manner,
                &one.repeated,
                &one.request,
                &one.kind,
                &one.owner,
                &one.ms,
                &one.keys,
            ];
            let rows = database.run(connection, &database.statements.acquire, values).await?;
            let row = rows.first().ok_or_else(Failure::unexpected)?;
            return Ok(vec![Acquired::read(row, session.as_ref())?]);
        }
        let all = |part: fn(&Acquire) -> &str| asked.iter().map(part).collect::<Vec<_>>();
        let repeated: Vec<_> = asked.iter().map(|one| one.repeated).collect();
        let ms: Vec<_> = asked.iter().map(|one| one.ms).collect();
        let values: Values<'_> = &[
            &database.most,
            &database.patience(),
            &number,
            &logged,
            &all(|one| one.manner),
            &repeated,
            &all(|one| &one.request),
            &all(|one| one.kind),
            &all(|one| &one.owner),
            &ms,
            &all(|one| &one.keys[0]),
        ];
        let rows = database.run(connection, &database.statements.acquire_many, values).await?;
        let mut answers = HashMap::with_capacity(asked.len());
        for row in &rows {
            let of_all = Acquired::read(row, session.as_ref())?;
            let requests: Vec<&str> = row.try_get(6)?;
            if let [request] = requests[..] {
                answers.insert(request, of_all);
                continue;
            }
            for (at, request) in requests.into_iter().enumerate() {
                let tokens = of_all.tokens.get(at).copied().into_iter().collect();
                answers.insert(request, Acquired { tokens, ..of_all.clone() });
            }
        }
        let answer = |one: &Acquire| answers.remove(one.request.as_str());
        let answers: Option<Vec<_>> = asked.iter().map(answer).collect();
        answers.ok_or_else(Failure::unexpected)
    }
}

pub(crate) fn owner(owner: Option<&OwnerId>) -> String {
    owner.map_or_else(String::new, |owner| owner.as_str().to_owned())
}

pub(crate) fn millis(expiry: Expiry) -> i64 {
    i64::try_from(expiry.as_millis_rounded_up()).unwrap_or(i64::MAX)
}
