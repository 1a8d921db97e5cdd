use std::sync::Arc;

use locking_core::line::{AskId, ClientId};
use locking_core::{Expiry, KeySet, Lease, LeasedKey, OwnerId};

use crate::acquiring::{millis, owner};
use crate::database::Database;
use crate::failure::Failure;
use crate::lane::Batch;
use crate::lent::Lent;
use crate::statement::Values;

/// A key to give back.
#[derive(Clone, Debug)]
struct Meant {
    key: String,
    /// Whose lease may be freed, empty for an anonymous one; `None`: just the hold with the token.
    of: Option<String>,
    token: i64,
    /// The request of a guard that may have been passed on since, or this client's name where it knows of none;
    /// `None` for what is never passed on.
    origin: Option<String>,
}

impl Meant {
    /// The keys of a lease.
    fn all_of<'a>(
        keys: impl ExactSizeIterator<Item = &'a LeasedKey>,
        client: &ClientId,
        origin: Option<&AskId>,
    ) -> Vec<Self> {
        let origin = origin.map_or(client.as_str(), AskId::as_str);
        let origin = (keys.len() == 1).then(|| origin.to_owned());
        let meant = |leased: &LeasedKey| Self {
            key: leased.key.as_str().to_owned(),
            of: None,
            token: token(leased),
            origin: origin.clone(),
        };
        keys.map(meant).collect()
    }
}

/// Keys to give back: those of a lease, or of an owner.
#[derive(Clone, Debug)]
pub(crate) struct Release(Vec<Meant>);

impl Release {
    pub(crate) fn of_lease(
        taken: &[&LeasedKey],
        client: &ClientId,
        origin: Option<&AskId>,
    ) -> Self {
        Self(Meant::all_of(taken.iter().copied(), client, origin))
    }

    pub(crate) fn of_owner(keys: &KeySet, of: Option<&OwnerId>) -> Self {
        let meant = |key: &locking_core::LockKey| Meant {
            key: key.as_str().to_owned(),
            of: Some(owner(of)),
            token: 0,
            origin: None,
        };
        Self(keys.iter().map(meant).collect())
    }
}

/// Releases. Each is answered with whether each of its keys was held so.
pub(crate) struct Releasing {
    pub(crate) database: Arc<Database>,
    /// In which table the holds most likely are.
    pub(crate) logged: bool,
}

impl Batch for Releasing {
    type Operation = Release;
    type Reply = Vec<bool>;

    fn keys(operation: &Release) -> usize {
        operation.0.len()
    }

    fn is_alone(_: &Release) -> bool {
        false
    }

    type Way = Lent;

    async fn way(&self) -> Result<Lent, Failure> {
        self.database.connection().await
    }

    async fn send(&self, connection: Lent, asked: &[Release]) -> Result<Vec<Vec<bool>>, Failure> {
        let database = &self.database;
        if let [Release(meant)] = asked
            && let [one] = meant.as_slice()
        {
            let values: Values<'_> = &[
                &database.most,
                &database.patience(),
                &self.logged,
                &one.key,
                &one.of,
                &one.token,
                &one.origin,
            ];
            let rows = database.run(connection, &database.statements.release_one, values).await?;
            let row = rows.first().ok_or_else(Failure::unexpected)?;
            return Ok(vec![vec![row.try_get(0)?]]);
        }
        let meant = || asked.iter().flat_map(|Release(meant)| meant);
        let values: Values<'_> = &[
            &database.most,
            &database.patience(),
            &self.logged,
            &meant().map(|one| &*one.key).collect::<Vec<_>>(),
            &meant().map(|one| one.of.as_deref()).collect::<Vec<_>>(),
            &meant().map(|one| one.token).collect::<Vec<_>>(),
            &meant().map(|one| one.origin.as_deref()).collect::<Vec<_>>(),
        ];
        let rows = database.run(connection, &database.statements.release, values).await?;
        let row = rows.first().ok_or_else(Failure::unexpected)?;
        Ok(dealt(row.try_get(0)?, asked.iter().map(|Release(meant)| meant.len())))
    }
}

/// A lease whose time is set once more.
#[derive(Clone, Debug)]
pub(crate) struct Extend {
    meant: Vec<Meant>,
    holder: String,
    ms: i64,
}

impl Extend {
    pub(crate) fn new(
        lease: &Lease,
        expiry: Expiry,
        client: &ClientId,
        origin: Option<&AskId>,
    ) -> Self {
        let meant = Meant::all_of(lease.keys().iter(), client, origin);
        Self { meant, holder: owner(lease.owner.as_ref()), ms: millis(expiry) }
    }
}

/// Extensions. Each is answered with whether each of its keys is held so: all, or nothing was changed.
pub(crate) struct Extending {
    pub(crate) database: Arc<Database>,
}

impl Batch for Extending {
    type Operation = Extend;
    type Reply = Vec<bool>;

    fn keys(operation: &Extend) -> usize {
        operation.meant.len()
    }

    fn is_alone(_: &Extend) -> bool {
        false
    }

    type Way = Lent;

    async fn way(&self) -> Result<Lent, Failure> {
        self.database.connection().await
    }

    async fn send(&self, connection: Lent, asked: &[Extend]) -> Result<Vec<Vec<bool>>, Failure> {
        let database = &self.database;
        let all = || {
            (1..).zip(asked).flat_map(|(number, extend)| {
                extend.meant.iter().map(move |meant| (number, extend, meant))
            })
        };
        let values: Values<'_> = &[
            &database.most,
            &database.patience(),
            &all().map(|(number, ..)| number).collect::<Vec<i32>>(),
            &all().map(|(_, _, meant)| &*meant.key).collect::<Vec<_>>(),
            &all().map(|(_, _, meant)| meant.token).collect::<Vec<_>>(),
            &all().map(|(_, _, meant)| meant.origin.as_deref()).collect::<Vec<_>>(),
            &all().map(|(_, extend, _)| &*extend.holder).collect::<Vec<_>>(),
            &all().map(|(_, extend, _)| extend.ms).collect::<Vec<_>>(),
        ];
        let rows = database.run(connection, &database.statements.extend, values).await?;
        let row = rows.first().ok_or_else(Failure::unexpected)?;
        Ok(dealt(row.try_get(0)?, asked.iter().map(|extend| extend.meant.len())))
    }
}

/// The answers for all keys, dealt to the operations that they are of.
fn dealt(done: Vec<bool>, counts: impl Iterator<Item = usize>) -> Vec<Vec<bool>> {
    let mut done = done.into_iter();
    counts.map(|count| done.by_ref().take(count).collect()).collect()
}

pub(crate) fn token(leased: &LeasedKey) -> i64 {
    // Tokens come from a sequence of this type.
    i64::try_from(leased.token.get()).unwrap_or(i64::MAX)
}
