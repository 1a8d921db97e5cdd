mod address;
mod connection;
mod handle;
mod setup;
mod start;

pub use handle::Redis;
pub use setup::RedisSetup;

/// The server's name in errors.
const NAME: &str = "Redis";

/// The variable that names a server.
const URL: &str = "LOCKING_TEST_REDIS_URL";

/// The variable that names the image of containers.
const IMAGE: &str = "LOCKING_TEST_REDIS_IMAGE";

const DEFAULT_IMAGE: &str = "redis:7";

/// What to do where no server is to be had.
const ADVICE: &str = "set LOCKING_TEST_REDIS_URL to a server's address, or start Docker, or install \
`redis-server` (Debian, Ubuntu: apt-get install redis-server)";
