use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use locking_core::{
    AcquireRequest, Backoff, Capabilities, ConfigurationError, Error, Expiry, Grant, HoldKind,
    KeySet, Lease, LockInfo, LockKey, LockingProvider, LossReason, Moment, OwnerId, ProviderId,
    ReleaseScope, Result, TryAcquire, acquire_by_polling, async_trait,
};

use crate::boot::BootId;
use crate::database::Database;
use crate::error::Failure;
use crate::lock_file::{Durability, LockFile};
use crate::options::SqliteOptions;
use crate::{CAPABILITIES, holds};

/// Locks in a SQLite file. A clone is the same client.
///
/// It has one thread and one connection, whatever is held and however many wait.
#[derive(Clone)]
pub struct SqliteProvider(Arc<Client>);

struct Client {
    id: ProviderId,
    options: SqliteOptions,
    database: Database,
    closed: Arc<AtomicBool>,
}

impl SqliteProvider {
    /// Opens the file, and makes it where it isn't there.
    ///
    /// # Errors
    ///
    /// - [`Error::Configuration`] if an option won't do, or the file can't be opened, is damaged, another
    ///   program's, or of a newer version.
    /// - [`Error::Unavailable`] if others kept it busy for longer than `busy_timeout`.
    /// - [`Error::CapacityExceeded`] if the disk is full.
    ///
    /// # Cancellation
    ///
    /// It may be dropped; the file may have been made then.
    pub async fn connect(id: ProviderId, options: SqliteOptions) -> Result<Self> {
        options.check()?;
        // The file stays the same one when the process changes its directory.
        let path = std::path::absolute(&options.path)
            .map_err(|error| ConfigurationError::option("path", error.to_string()))?;
        let database = BootId::current()
            .map(|boot| LockFile::new(path, options.busy_timeout, boot))
            .and_then(Database::start);
        let database = database.map_err(|failure| failure.into_error(&id))?;
        let opened = database.call(LockFile::migrate).await;
        opened.map_err(|failure| failure.into_error_of_connecting(&id))?;
        Ok(Self(Arc::new(Client { id, options, database, closed: Arc::default() })))
    }

    /// Carries out an operation, unless this client is closed when its turn comes.
    async fn call<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut LockFile) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let closed = Arc::clone(&self.0.closed);
        let operation = move |file: &mut LockFile| {
            if closed.load(Ordering::SeqCst) { Ok(None) } else { operation(file).map(Some) }
        };
        let done = self.0.database.call(operation).await.map_err(|failure| self.failed(failure))?;
        done.ok_or_else(|| Error::closed(&self.0.id))
    }

    fn failed(&self, failure: Failure) -> Error {
        failure.into_error(&self.0.id)
    }

    fn lost(&self, key: LockKey) -> Error {
        Error::lost(&self.0.id, key, LossReason::Expired)
    }
}

#[async_trait]
impl LockingProvider for SqliteProvider {
    fn id(&self) -> &ProviderId {
        &self.0.id
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn wait_locking_timeout(&self) -> Duration {
        self.0.options.wait_locking_timeout
    }

    async fn acquire(&self, request: AcquireRequest) -> Result<Grant> {
        let SqliteOptions { default_retry_interval, maximum_retry_interval, .. } = self.0.options;
        let backoff = Backoff::new(default_retry_interval, maximum_retry_interval);
        acquire_by_polling(self, request, backoff).await
    }

    async fn extend(&self, lease: &Lease, expiry: Expiry) -> Result<()> {
        let lease = lease.clone();
        let extended = self.call(move |file| {
            let durability = durability_of(file, &lease)?;
            file.transact(durability, |transaction, now| {
                holds::extend(transaction, now, &lease, expiry)
            })
        });
        extended.await?.map_err(|gone| self.lost(gone))
    }

    async fn release(&self, keys: KeySet, owner: Option<OwnerId>) -> Result<bool> {
        self.call(move |file| {
            file.transact(Durability::Machine, |transaction, now| {
                holds::release(transaction, now, &keys, &owner)
            })
        })
        .await
    }

    /// Also after a close: an acquisition that was under way is given back by it.
    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        let lease = lease.clone();
        let released = self.0.database.call(move |file| {
            let durability = durability_of(file, &lease)?;
            file.transact(durability, |transaction, now| {
                holds::release_lease(transaction, now, &lease)
            })
        });
        let released = released.await.map_err(|failure| self.failed(failure))?;
        released.map_err(|gone| self.lost(gone))
    }

    async fn release_all(&self, scope: ReleaseScope) -> Result<u64> {
        self.call(move |file| {
            file.transact(Durability::Machine, |transaction, now| {
                holds::release_all(transaction, now, &scope)
            })
        })
        .await
    }

    async fn inspect(&self, key: &LockKey) -> Result<Option<LockInfo>> {
        let key = key.clone();
        self.call(move |file| file.look(|connection, now| holds::find(connection, now, &key))).await
    }

    async fn list(&self) -> Result<Vec<LockInfo>> {
        self.call(|file| file.look(holds::list)).await
    }

    /// It was done when the client connected; a file that was deleted since is made again.
    async fn migrate(&self) -> Result<()> {
        self.call(LockFile::migrate).await
    }

    async fn close(&self) -> Result<()> {
        // Those who wait learn it at their next attempt.
        self.0.closed.store(true, Ordering::SeqCst);
        let ended = self.0.database.call(|file| {
            file.close();
            Ok(())
        });
        ended.await.map_err(|failure| self.failed(failure))
    }
}

#[async_trait]
impl TryAcquire for SqliteProvider {
    async fn try_acquire(&self, request: &AcquireRequest) -> Result<Grant> {
        let asked = request.clone();
        let taken = self.call(move |file| {
            let durability = match asked.hold.kind() {
                HoldKind::Guard => Durability::Processes,
                _ => Durability::Machine,
            };
            // Those who wait ask again and again: that must not keep the file from who gives the key back.
            let held = file.look(|connection, now| holds::enterable(connection, now, &asked))?;
            if let Err(blocking) = held {
                return Ok(Err(blocking));
            }
            // Before the moment from which the file counts.
            let from = Moment::now();
            let taken = file.transact(durability, |transaction, now| {
                holds::acquire(transaction, now, &asked)
            })?;
            Ok(taken.map(|keys| (keys, from)))
        });
        let (keys, from) = taken.await?.map_err(|key| Error::held(&self.0.id, key))?;
        let lease = Lease::new(self.0.id.clone(), request.owner.clone(), keys);
        Ok(Grant::new(lease).with_counted_from(from))
    }
}

impl fmt::Debug for SqliteProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteProvider")
            .field("id", &self.0.id)
            .field("path", &self.0.options.path)
            .finish_non_exhaustive()
    }
}

/// What becomes of a guard needs to survive no more than the guard itself does.
fn durability_of(file: &mut LockFile, lease: &Lease) -> Result<Durability, Failure> {
    let is_guards = file.look(|connection, _| holds::is_guards(connection, lease))?;
    Ok(if is_guards { Durability::Processes } else { Durability::Machine })
}
