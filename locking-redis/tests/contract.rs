//! The contract suite, against a Redis server.

mod harness;

use std::process::ExitCode;

use harness::Shared;
use locking_redis::CAPABILITIES;
use locking_testkit::servers::{Redis, RedisSetup};

fn main() -> ExitCode {
    locking_testkit::main(CAPABILITIES, || async {
        let server = Redis::start().await.expect("a server for the tests");
        Shared::new(server, RedisSetup::new)
    })
}
