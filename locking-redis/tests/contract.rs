//! The contract suite, against a Redis server.

mod harness;

use std::process::ExitCode;

use harness::Shared;
use locking_testkit::servers::Redis;

fn main() -> ExitCode {
    let (claims, setup) = harness::as_named();
    locking_testkit::main(claims, move || async move {
        let server = Redis::start().await.expect("a server for the tests");
        Shared::new(server, setup)
    })
}
