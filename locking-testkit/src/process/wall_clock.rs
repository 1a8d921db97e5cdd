use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::faketime;

/// How long a process may take to say what its clock shows, on a machine that is busy.
const SLACK: Duration = Duration::from_secs(30);

/// The wall clock of a process, against that of everybody else. Its other clocks run as theirs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WallClock {
    /// It shows a time that is still to come.
    Ahead(Duration),
    /// It shows a time that is over.
    Behind(Duration),
}

impl WallClock {
    /// What a process finds in its environment so that it has this clock.
    pub(super) fn environment(self) -> Vec<(String, String)> {
        let library = faketime::library().expect("the case's line says `+ WrongClocks`");
        let libraries = std::env::var("LD_PRELOAD").unwrap_or_default();
        let libraries = format!("{} {libraries}", library.display());
        let offset = match self {
            Self::Ahead(time) => format!("+{:.3}", time.as_secs_f64()),
            Self::Behind(time) => format!("-{:.3}", time.as_secs_f64()),
        };
        let variables = [
            ("LD_PRELOAD", libraries.trim_end()),
            ("FAKETIME", &offset),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    /// Makes sure that what a process says is the time by this clock: else a case proves nothing.
    pub(super) fn assert_shows(self, time: SystemTime) {
        let now = SystemTime::now();
        let expected = match self {
            Self::Ahead(offset) => now.checked_add(offset),
            Self::Behind(offset) => now.checked_sub(offset),
        };
        let expected = expected.expect("a time that systems know");
        let off = expected.duration_since(time).unwrap_or_else(|later| later.duration());
        assert!(off < SLACK, "the clock that should be {self} shows {time:?}, and it is {now:?}");
    }
}

impl fmt::Display for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ahead(time) => write!(f, "{time:?} ahead"),
            Self::Behind(time) => write!(f, "{time:?} behind"),
        }
    }
}

/// The files by which the library shares an offset among processes. One that is killed leaves them.
#[derive(Debug)]
pub(super) struct Leftovers(u32);

impl Leftovers {
    pub(super) const fn of(process: u32) -> Self {
        Self(process)
    }

    fn files(&self) -> [PathBuf; 2] {
        ["faketime_shm", "sem.faketime_sem"]
            .map(|name| PathBuf::from(format!("/dev/shm/{name}_{}", self.0)))
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        for file in self.files() {
            // A process that ended by itself removed them.
            let _ = std::fs::remove_file(file);
        }
    }
}
