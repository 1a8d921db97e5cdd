//! The time that all processes of the machine share: it alone decides when a hold ends.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlResult, ToSqlOutput, ValueRef};
use rustix::time::{ClockId, clock_gettime};

use crate::error::Failure;

/// A moment of the boot's clock, which counts suspend and which nobody sets, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BootTime(i64);

impl BootTime {
    pub(crate) fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        Self(now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec))
    }

    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(nanos(time)))
    }

    /// The time from now until this moment; zero if it is over.
    pub(crate) fn since(self, now: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(now.0)).unwrap_or(0))
    }
}

/// As the file has it. Two centuries fit, twice what an expiry can be.
pub(crate) fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

impl ToSql for BootTime {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for BootTime {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(Self)
    }
}

/// Which boot's clock it is.
#[derive(Clone, Debug)]
pub(crate) struct BootId(String);

impl BootId {
    pub(crate) fn current() -> Result<Self, Failure> {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        Ok(Self(id.map_err(Failure::NoBoot)?.trim().to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a client's tokens begin at the least: the wall clock in microseconds.
pub(crate) fn least_token() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
