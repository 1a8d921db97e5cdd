//! The contract suite, against a PostgreSQL server.

mod harness;

use std::process::ExitCode;

use harness::Shared;
use locking_postgres::CAPABILITIES;
use locking_testkit::servers::Postgres;

fn main() -> ExitCode {
    let (claims, setup) = harness::as_named(CAPABILITIES);
    // Clients and the server's processes share the machine: at once, limits of time would be measured.
    locking_testkit::main_in_turn(claims, move || async move {
        let server = Postgres::start().await.expect("a server for the tests");
        Shared::new(server, setup)
    })
}
