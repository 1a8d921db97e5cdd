mod connection;
mod handle;
mod setup;
mod start;

pub use handle::Redis;
pub use setup::RedisSetup;

use super::kind::Kind;

pub(super) const KIND: Kind = Kind {
    name: "Redis",
    variable: "LOCKING_TEST_REDIS_URL",
    schemes: &[("redis", "redis"), ("valkey", "redis"), ("rediss", TLS), ("valkeys", TLS)],
    example: "`redis://127.0.0.1:6379` or `rediss://user:password@host`",
    port: 6379,
    probe: handle::probe,
};

/// How addresses for TLS begin.
const TLS: &str = "rediss";
