//! The contract suite behind a PgBouncer that shares a few sessions of the server's between transactions.

mod harness;

use std::process::ExitCode;

use harness::Shared;
use locking_core::{Capabilities, Capability};
use locking_testkit::servers::{Postgres, PostgresSetup};

/// Neither `Notified` nor `Takeover`: both take a session.
const CAPABILITIES: Capabilities = Capabilities::none()
    .with(Capability::Fencing)
    .with(Capability::Fair)
    .with(Capability::SharedBetweenProcesses)
    .with(Capability::AtomicMultiKey)
    .with(Capability::Lists);

fn main() -> ExitCode {
    // The tables of each case are new to the few sessions of the pooler's, which all cases share.
    locking_testkit::main_in_turn(CAPABILITIES, || async {
        let server = Postgres::start().await.expect("a server for the tests");
        Shared::new(server, PostgresSetup::new).behind_a_pooler().await
    })
}
