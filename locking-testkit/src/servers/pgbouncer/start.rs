use std::path::PathBuf;

use super::handle::PgBouncer;
use super::setup::PgBouncerSetup;
use super::{CONSOLE, KIND};
use crate::servers::account::Account;
use crate::servers::address::Address;
use crate::servers::error::ServerError;
use crate::servers::folder::Folder;
use crate::servers::kind::Kind;
use crate::servers::owned::Owned;
use crate::servers::postgres::{Postgres, is_tls};
use crate::servers::process::ServerProcess;
use crate::servers::program;
use crate::servers::server::Server;
use crate::servers::start::Setup;

const CONFIGURATION: &str = "pgbouncer.ini";

/// Accounts with their passwords.
const ACCOUNTS: &str = "accounts.txt";

/// A PgBouncer that is set up like this before this server.
pub(super) struct Before<'a> {
    pub(super) server: &'a Postgres,
    pub(super) setup: &'a PgBouncerSetup,
}

impl Setup for Before<'_> {
    const KIND: &'static Kind = &KIND;
    const ADVICE: &'static str = "install `pgbouncer` (Debian, Ubuntu: apt-get install pgbouncer)";
    type Programs = (PathBuf, Option<Account>);
    type Handle = PgBouncer;

    fn installed() -> Result<Self::Programs, String> {
        let program = program::find("pgbouncer").ok_or("there is no `pgbouncer`")?;
        Ok((program, Account::unprivileged()?))
    }

    async fn process(&self, (program, account): &Self::Programs) -> Result<PgBouncer, ServerError> {
        let socket = KIND.free_port()?;
        let folder = Folder::new(&KIND, *account)?;
        let behind = self.server.parts();
        let address = Address { kind: &KIND, query: String::new(), ..behind.at(socket) };
        let password = address.password.as_deref().unwrap_or_default();
        folder.write(ACCOUNTS, format!("{} {}\n", quoted(&address.user), quoted(password)))?;
        folder.write(CONFIGURATION, self.configuration(&address))?;
        let process = ServerProcess::new(&KIND, program.clone(), [CONFIGURATION], folder);
        let owned = Owned::Process(Box::new(process));
        Server::started(address, owned).await.map(PgBouncer::new)
    }
}

impl Before<'_> {
    fn configuration(&self, address: &Address) -> String {
        let behind = self.server.address();
        let login = if address.password.is_some() { "scram-sha-256" } else { "trust" };
        let tls = if is_tls(self.server) { "require" } else { "disable" };
        let mut lines = format!(
            "[databases]\n\
             * = host={} port={}\n\
             [{CONSOLE}]\n\
             auth_type = {login}\n\
             auth_file = {ACCOUNTS}\n\
             admin_users = {}\n\
             server_tls_sslmode = {tls}\n\
             pool_mode = transaction\n",
            behind.ip(),
            behind.port(),
            address.user,
        );
        for (name, value) in &self.setup.settings {
            lines.push_str(&format!("{name} = {value}\n"));
        }
        let port = address.port;
        lines + &format!("listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n")
    }
}

/// A text in the file of accounts.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}
