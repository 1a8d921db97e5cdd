//! The contract suite behind a PgBouncer that shares a few sessions of the server's between transactions.

mod harness;

use std::process::ExitCode;

use harness::{BEHIND_A_POOLER, Shared};
use locking_testkit::servers::Postgres;

fn main() -> ExitCode {
    let (claims, setup) = harness::as_named(BEHIND_A_POOLER);
    // The tables of each case are new to the few sessions of the pooler's, which all cases share.
    locking_testkit::main_in_turn(claims, move || async move {
        let server = Postgres::start().await.expect("a server for the tests");
        Shared::new(server, setup).behind_a_pooler().await
    })
}
