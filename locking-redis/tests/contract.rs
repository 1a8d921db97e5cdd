//! The contract suite, against a Redis server.

mod harness;

use std::process::ExitCode;

use locking_redis::CAPABILITIES;

fn main() -> ExitCode {
    locking_testkit::main(CAPABILITIES, harness::Shared::start)
}
