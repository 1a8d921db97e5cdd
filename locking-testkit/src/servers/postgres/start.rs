use std::net::SocketAddr;

use super::handle::Postgres;
use super::programs::Programs;
use super::setup::PostgresSetup;
use super::template::{self, DATA};
use super::{KIND, POSTGRES};
use crate::servers::address::Address;
use crate::servers::container::{self, ContainerSetup, ServerContainer};
use crate::servers::error::ServerError;
use crate::servers::folder::Folder;
use crate::servers::kind::Kind;
use crate::servers::owned::Owned;
use crate::servers::process::ServerProcess;
use crate::servers::server::Server;
use crate::servers::start::{Contained, Setup};
use crate::signal::Signal;

/// A server reads its key only if nobody else can, and files that are copied into a container are
/// root's there. The image's own script goes on from here.
const WITH_TLS: &str = "chown -R postgres /tls && chmod 600 /tls/server.key && \
exec docker-entrypoint.sh \"$@\"";

impl Setup for PostgresSetup {
    const KIND: &'static Kind = &KIND;
    const ADVICE: &'static str = "set LOCKING_TEST_POSTGRES_URL to a server's address, or start \
Docker, or install the server (Debian, Ubuntu: apt-get install postgresql)";
    type Programs = Programs;
    type Handle = Postgres;

    fn installed() -> Result<Programs, String> {
        Programs::find()
    }

    async fn process(&self, programs: &Programs) -> Result<Postgres, ServerError> {
        let socket = KIND.free_port()?;
        let folder = Folder::new(&KIND, programs.account)?;
        template::make(programs, &folder).await?;
        if let Some(password) = &self.password {
            template::protect(programs, &folder, password).await?;
        }
        let mut arguments = vec!["-D".to_owned(), DATA.to_owned()];
        arguments.extend(self.arguments());
        let mut set = |setting: String| arguments.extend(["-c".to_owned(), setting]);
        set("listen_addresses=127.0.0.1".to_owned());
        set(format!("port={}", socket.port()));
        // In the data directory, which is removed: elsewhere it outlives a server that is killed.
        set("dynamic_shared_memory_type=mmap".to_owned());
        // Their paths are too long for some systems.
        set("unix_socket_directories=".to_owned());
        if let Some(tls) = &self.tls {
            // Found in the data directory.
            folder.write(&format!("{DATA}/server.crt"), &tls.certificate)?;
            folder.write(&format!("{DATA}/server.key"), &tls.key)?;
            set("ssl=on".to_owned());
        }
        let process = ServerProcess::new(&KIND, programs.postgres.clone(), arguments, folder);
        // A fast shutdown; and an immediate one, which gives back the shared memory.
        let process = process.ended_by(Signal::Interrupt, "QUIT");
        self.started(socket, Owned::Process(Box::new(process))).await
    }
}

impl Contained for PostgresSetup {
    async fn container(&self) -> Result<Postgres, ServerError> {
        let socket = KIND.free_port()?;
        let mut command = vec![POSTGRES.to_owned()];
        command.extend(self.arguments());
        let mut files = Vec::new();
        if let Some(tls) = &self.tls {
            let mut file = |name: &str, text: &str| {
                files.push((format!("/tls/server.{name}"), text.as_bytes().to_vec()));
            };
            file("crt", &tls.certificate);
            file("key", &tls.key);
            for setting in
                ["ssl=on", "ssl_cert_file=/tls/server.crt", "ssl_key_file=/tls/server.key"]
            {
                command.extend(["-c".to_owned(), setting.to_owned()]);
            }
            let script = ["sh", "-c", WITH_TLS, "sh"].map(str::to_owned);
            command.splice(..0, script);
        }
        let login = match &self.password {
            Some(password) => ("POSTGRES_PASSWORD", password.as_str()),
            None => ("POSTGRES_HOST_AUTH_METHOD", "trust"),
        };
        let container = ContainerSetup {
            server: KIND.name,
            image: container::named("LOCKING_TEST_POSTGRES_IMAGE", "postgres:16"),
            environment: vec![(login.0.to_owned(), login.1.to_owned())],
            command,
            files,
            ports: vec![(socket, 5432)],
        };
        let container = ServerContainer::start(container).await?;
        self.started(socket, Owned::Container(Box::new(container))).await
    }
}

impl PostgresSetup {
    async fn started(&self, socket: SocketAddr, owned: Owned) -> Result<Postgres, ServerError> {
        let address = Address {
            user: POSTGRES.to_owned(),
            password: self.password.clone(),
            path: format!("/{POSTGRES}"),
            ..Address::local(&KIND, socket)
        };
        Ok(Postgres::new(Server::started(address, owned).await?, self.tls.is_some()))
    }
}
