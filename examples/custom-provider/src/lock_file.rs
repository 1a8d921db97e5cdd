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
    place: Place,
    /// For how long an operation waits for others, counted from when it was asked for.
    patience: Duration,
    give_up: Instant,
    open: Option<Open>,
}

/// Where the file is, and of which boot it has to be.
struct Place {
    path: PathBuf,
    boot: BootId,
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
        let place = Place { path, boot };
        Self { place, patience, give_up: Instant::now() + patience, open: None }
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
        work: impl Fn(&Transaction<'_>, BootTime) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        self.with(|open, place| {
            open.set(durability)?;
            // With the write lock from its begin: a transaction that read first could be refused it.
            let transaction = open.begin(TransactionBehavior::Immediate, place)?;
            let done = work(&transaction, BootTime::now())?;
            transaction.commit().map_err(Failure::of_commit)?;
            Ok(done)
        })
    }

    /// Does work of one statement that only reads: it waits for nobody.
    pub(crate) fn look<T>(
        &mut self,
        work: impl Fn(&Connection, BootTime) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        self.with(|open, place| {
            let transaction = open.begin(TransactionBehavior::Deferred, place)?;
            Ok(work(&transaction, BootTime::now())?)
        })
    }

    /// Makes the connection, and with it the tables.
    pub(crate) fn migrate(&mut self) -> Result<(), Failure> {
        self.with(|_, _| Ok(()))
    }

    /// Ends the connection. What comes later makes one again.
    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// Removes what is over and nobody asked for, some of it. Answers whether there is more.
    pub(crate) fn sweep(&mut self) -> bool {
        // Nobody asked for it, so it makes no connection, and no file either.
        if !self.open.as_ref().is_some_and(|open| open.is(&self.place.path)) {
            return false;
        }
        let swept = self.transact(Durability::Processes, holds::sweep);
        // What went wrong shows in an operation that somebody waits for.
        swept.unwrap_or(false)
    }

    /// Does work on the file that the path leads to. Work that finds the file replaced has done nothing yet, and is
    /// done again on the one in its place.
    fn with<T>(
        &mut self,
        work: impl Fn(&mut Open, &Place) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        loop {
            let done = self.try_with(&work);
            match done {
                Err(Failure::Replaced) if Instant::now() < self.give_up => {}
                done => return done,
            }
        }
    }

    fn try_with<T>(
        &mut self,
        work: impl Fn(&mut Open, &Place) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let open = match self.open.take() {
            // Who has a file of this name that isn't there any more would lock for itself alone.
            Some(open) if open.is(&self.place.path) => open,
            _ => self.connect()?,
        };
        let open = self.open.insert(open);
        let ready = open.wait_until(self.give_up).map_err(Failure::from);
        let done = ready.and_then(|()| work(open, &self.place));
        if done.as_ref().is_err_and(|failure| !failure.spares_the_connection()) {
            self.open = None;
        }
        done
    }

    /// Some steps of opening a file are refused at once while others open or close it, or replace it.
    fn connect(&self) -> Result<Open, Failure> {
        loop {
            match Open::new(&self.place, self.give_up) {
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
    fn new(Place { path, boot }: &Place, give_up: Instant) -> Result<Self, Failure> {
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

    /// Begins a transaction, and only in a file that is still what it was when it was opened: it may have been
    /// replaced or brought up to date meanwhile, also by whoever the transaction waited for.
    fn begin(
        &mut self,
        behavior: TransactionBehavior,
        Place { path, boot }: &Place,
    ) -> Result<Transaction<'_>, Failure> {
        let identity = self.identity;
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        if Identity::of(path) != Some(identity) || !migrate::is_current(&transaction, boot)? {
            return Err(Failure::Replaced);
        }
        Ok(transaction)
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

    fn may_grow_to(file: &mut LockFile, pages: u32) {
        let set = |open: &mut Open, _: &Place| {
            Ok(open.connection.pragma_update(None, "max_page_count", pages)?)
        };
        file.with(set).expect("set");
    }

    #[test]
    fn a_file_that_may_not_grow_is_full_and_works_again_when_there_is_room() {
        let (_folder, mut file) = a_file();
        may_grow_to(&mut file, 1);

        let refused = (0..).find_map(|n| acquire(&mut file, format!("k{n:0>1000}")).err());
        let refused = refused.expect("it is full at some time");
        let error = refused.into_error(&ProviderId::new("me").expect("an id"));
        assert!(matches!(error, Error::CapacityExceeded { .. }), "{error:?}");

        may_grow_to(&mut file, 1000);
        acquire(&mut file, "other".to_owned()).expect("there is room");
    }

    #[test]
    fn what_nobody_asked_for_makes_no_file() {
        let (_folder, mut file) = a_file();
        file.close();
        std::fs::remove_file(&file.place.path).expect("it was there");
        assert!(!file.sweep() && !file.place.path.exists());
        file.migrate().expect("asked for");
        assert!(file.place.path.exists());
    }

    #[test]
    fn a_file_that_is_replaced_while_an_operation_waits_for_it_is_not_locked_in() {
        let (folder, mut file) = a_file();
        let path = file.place.path.clone();
        let busy = Connection::open(&path).expect("the file");
        busy.execute_batch("BEGIN IMMEDIATE").expect("alone");
        file.begin(Instant::now());
        let waits = std::thread::spawn(move || acquire(&mut file, "k".to_owned()));
        // Enough for it to wait; if it begins later, it finds the new file at once.
        sleep(Duration::from_millis(100));
        for name in ["locks", "locks-wal", "locks-shm"] {
            std::fs::remove_file(folder.path().join(name)).expect("it was there");
        }
        busy.execute_batch("ROLLBACK").expect("gone");
        waits.join().expect("no panic").expect("free in the new file");
        let held: i64 = Connection::open(&path)
            .and_then(|new| {
                new.query_row("SELECT count(*) FROM locking_hold", [], |row| row.get(0))
            })
            .expect("there is one");
        assert_eq!(held, 1);
    }
}
