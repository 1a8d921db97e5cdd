use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::boot::{BootId, BootTime};
use crate::error::Failure;
use crate::identity::{Identity, check_name};
use crate::{holds, migrate};

/// The file, with one connection to it, which is made where it is needed, and made again where the file was
/// replaced or the connection failed.
pub(crate) struct LockFile {
    path: PathBuf,
    boot: BootId,
    /// For how long an operation waits for others, counted from when it was asked for.
    patience: Duration,
    give_up: Instant,
    open: Option<Open>,
}

/// What a commit has to survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Any end of a process: what guards need, whose processes end with the machine.
    Processes,
    /// A crash of the machine as well: the disk has it before anybody is told.
    Machine,
}

impl Durability {
    fn written(self) -> &'static str {
        match self {
            Self::Processes => "NORMAL",
            Self::Machine => "FULL",
        }
    }
}

struct Open {
    connection: Connection,
    durability: Durability,
    identity: Identity,
}

impl LockFile {
    pub(crate) fn new(path: PathBuf, patience: Duration, boot: BootId) -> Self {
        Self { path, boot, patience, give_up: Instant::now() + patience, open: None }
    }

    /// What comes next was asked for at this moment. While others are in the way, what queues behind an
    /// operation doesn't wait as long again.
    pub(crate) fn begin(&mut self, asked: Instant) {
        self.give_up = asked + self.patience;
    }

    /// Does work that writes: all of it or nothing, and nobody else's between. The work gets the moment at
    /// which it has the file for itself.
    pub(crate) fn transact<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&Transaction<'_>, BootTime) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        self.with(|open| {
            open.set(durability)?;
            // With the write lock from its begin: a transaction that read first could be refused it.
            let behavior = TransactionBehavior::Immediate;
            let transaction = open.connection.transaction_with_behavior(behavior)?;
            let done = work(&transaction, BootTime::now())?;
            transaction.commit()?;
            Ok(done)
        })
    }

    /// Does work of one statement that only reads: it waits for nobody.
    pub(crate) fn look<T>(
        &mut self,
        work: impl FnOnce(&Connection, BootTime) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        self.with(|open| work(&open.connection, BootTime::now()))
    }

    /// Makes the connection, and with it the tables.
    pub(crate) fn migrate(&mut self) -> Result<(), Failure> {
        self.with(|_| Ok(()))
    }

    /// Ends the connection. What comes later makes one again.
    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// Removes what is over and nobody asked for, some of it. Answers whether there is more.
    pub(crate) fn sweep(&mut self) -> bool {
        // Nobody asked for it, so it makes no connection, and no file either.
        if !self.open.as_ref().is_some_and(|open| open.is(&self.path)) {
            return false;
        }
        let swept = self.transact(Durability::Processes, holds::sweep);
        // What went wrong shows in an operation that somebody waits for.
        swept.unwrap_or(false)
    }

    fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Open) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        let open = match self.open.take() {
            // Who has a file of this name that isn't there any more would lock for itself alone.
            Some(open) if open.is(&self.path) => open,
            _ => self.connect()?,
        };
        let open = self.open.insert(open);
        let done = open.wait_until(self.give_up).and_then(|()| work(open)).map_err(Failure::from);
        if done.as_ref().is_err_and(|failure| !failure.spares_the_connection()) {
            self.open = None;
        }
        done
    }

    /// Some steps of opening a file are refused at once while others open or close it, or replace it.
    fn connect(&self) -> Result<Open, Failure> {
        loop {
            match Open::new(&self.path, &self.boot, self.give_up) {
                Err(failure) if failure.is_passing() && Instant::now() < self.give_up => {
                    sleep(PAUSE)
                }
                outcome => return outcome,
            }
        }
    }
}

/// Between two tries to get the file.
const PAUSE: Duration = Duration::from_millis(1);

impl Open {
    fn new(path: &Path, boot: &BootId, give_up: Instant) -> Result<Self, Failure> {
        if Identity::of(path).is_none() {
            // It is made first: what the path leads to has to be the same before the opening and after it.
            drop(open_or_make(path)?);
        }
        let identity = Identity::of(path).ok_or(Failure::Replaced)?;
        let connection = open_or_make(path)?;
        if Identity::of(path) != Some(identity) {
            return Err(Failure::Replaced);
        }
        check_name(path)?;
        connection.set_prepared_statement_cache_capacity(32);
        let durability = Durability::Machine;
        let mut open = Self { connection, durability, identity };
        open.wait_until(give_up)?;
        let connection = &mut open.connection;
        // Before anything is written: it may be another program's. What is read belongs together.
        migrate::check(&connection.transaction()?)?;
        // A commit is one write to the log, and who reads waits for nobody.
        let mode: String =
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        if mode != "wal" {
            let problem = "lies on a file system without shared memory: a local one is needed";
            return Err(Failure::Unusable(problem.to_owned()));
        }
        connection.pragma_update(None, "synchronous", durability.written())?;
        migrate::run(connection, boot)?;
        Ok(open)
    }

    /// SQLite's own way to wait pauses for up to 100 ms, in which others overtake.
    fn wait_until(&mut self, give_up: Instant) -> rusqlite::Result<()> {
        self.connection.busy_handler(Some(move |_| {
            sleep(PAUSE);
            Instant::now() < give_up
        }))
    }

    fn is(&self, path: &Path) -> bool {
        Identity::of(path) == Some(self.identity)
    }

    /// It can't be set within a transaction.
    fn set(&mut self, durability: Durability) -> rusqlite::Result<()> {
        if self.durability != durability {
            self.connection.pragma_update(None, "synchronous", durability.written())?;
            self.durability = durability;
        }
        Ok(())
    }
}

fn open_or_make(path: &Path) -> rusqlite::Result<Connection> {
    // Only one thread has the connection, and a path is no URL.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

#[cfg(test)]
mod tests {
    use locking_core::{AcquireRequest, Error, IntoKeys, ProviderId};

    use super::*;

    fn a_file() -> (tempfile::TempDir, LockFile) {
        let folder = tempfile::tempdir().expect("a folder");
        let boot = BootId::current().expect("an id");
        let mut file = LockFile::new(folder.path().join("locks"), Duration::from_secs(1), boot);
        file.migrate().expect("a file");
        (folder, file)
    }

    fn acquire(file: &mut LockFile, key: String) -> Result<(), Failure> {
        let request = AcquireRequest::new(key.into_keys().expect("a key"));
        let work = |transaction: &Transaction<'_>, now| holds::acquire(transaction, now, &request);
        file.transact(Durability::Processes, work)?.expect("free");
        Ok(())
    }

    #[test]
    fn a_file_that_may_not_grow_is_full_and_works_again_when_there_is_room() {
        let (_folder, mut file) = a_file();
        file.with(|open| open.connection.pragma_update(None, "max_page_count", 1)).expect("set");

        let refused = (0..).find_map(|n| acquire(&mut file, format!("k{n:0>1000}")).err());
        let refused = refused.expect("it is full at some time");
        let error = refused.into_error(&ProviderId::new("me").expect("an id"));
        assert!(matches!(error, Error::CapacityExceeded { .. }), "{error:?}");

        file.with(|open| open.connection.pragma_update(None, "max_page_count", 1000)).expect("set");
        acquire(&mut file, "other".to_owned()).expect("there is room");
    }

    #[test]
    fn what_nobody_asked_for_makes_no_file() {
        let (_folder, mut file) = a_file();
        file.close();
        std::fs::remove_file(&file.path).expect("it was there");
        assert!(!file.sweep() && !file.path.exists());
        file.migrate().expect("asked for");
        assert!(file.path.exists());
    }
}
