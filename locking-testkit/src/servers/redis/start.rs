use std::net::SocketAddr;
use std::path::PathBuf;

use super::KIND;
use super::handle::Redis;
use super::setup::RedisSetup;
use crate::servers::address::Address;
use crate::servers::container::{ContainerSetup, ServerContainer};
use crate::servers::error::ServerError;
use crate::servers::folder::Folder;
use crate::servers::kind::Kind;
use crate::servers::owned::Owned;
use crate::servers::process::ServerProcess;
use crate::servers::server::Server;
use crate::servers::start::{Contained, Setup};
use crate::servers::{container, program};

/// The server's configuration, in its folder.
const CONFIGURATION: &str = "redis.conf";

impl Setup for RedisSetup {
    const KIND: &'static Kind = &KIND;
    const ADVICE: &'static str = "set LOCKING_TEST_REDIS_URL to a server's address, or start Docker, \
or install `redis-server` (Debian, Ubuntu: apt-get install redis-server)";
    type Programs = PathBuf;
    type Handle = Redis;

    fn installed() -> Result<PathBuf, String> {
        program::find("redis-server").ok_or_else(|| "there is no `redis-server`".to_owned())
    }

    async fn process(&self, program: &PathBuf) -> Result<Redis, ServerError> {
        let ports = Ports::free(self)?;
        let folder = Folder::new(&KIND, None)?;
        for (name, contents) in &self.files {
            folder.write(name, contents)?;
        }
        let mut lines = self.configuration();
        lines.push_str(&format!("bind 127.0.0.1\nport {}\n", ports.plain.port()));
        if let Some(tls) = ports.tls {
            lines.push_str(&format!("tls-port {}\n", tls.port()));
        }
        folder.write(CONFIGURATION, lines)?;
        let process = ServerProcess::new(&KIND, program.clone(), [CONFIGURATION], folder);
        self.started(ports, Owned::Process(Box::new(process))).await
    }
}

impl Contained for RedisSetup {
    async fn container(&self) -> Result<Redis, ServerError> {
        let ports = Ports::free(self)?;
        let mut lines = self.configuration();
        // Clients come over the container's network.
        lines.push_str("bind 0.0.0.0\nprotected-mode no\nport 6379\ndir /data\n");
        let mut inside = vec![(ports.plain, 6379)];
        if let Some(tls) = ports.tls {
            lines.push_str("tls-port 6380\n");
            inside.push((tls, 6380));
        }
        let files = self.files.iter().cloned();
        let files = files.chain([(CONFIGURATION.to_owned(), lines.into_bytes())]);
        let container = ContainerSetup {
            server: KIND.name,
            image: container::named("LOCKING_TEST_REDIS_IMAGE", "redis:7"),
            environment: Vec::new(),
            command: vec!["redis-server".to_owned(), format!("/data/{CONFIGURATION}")],
            files: files.map(|(name, contents)| (format!("/data/{name}"), contents)).collect(),
            ports: inside,
        };
        let container = ServerContainer::start(container).await?;
        self.started(ports, Owned::Container(Box::new(container))).await
    }
}

impl RedisSetup {
    async fn started(&self, ports: Ports, owned: Owned) -> Result<Redis, ServerError> {
        let password = self.password.clone();
        let address = Address { password, ..Address::local(&KIND, ports.plain) };
        Ok(Redis::new(Server::started(address, owned).await?, ports.tls))
    }
}

/// The ports of a server.
struct Ports {
    plain: SocketAddr,
    tls: Option<SocketAddr>,
}

impl Ports {
    fn free(setup: &RedisSetup) -> Result<Self, ServerError> {
        let tls = if setup.tls { Some(KIND.free_port()?) } else { None };
        Ok(Self { plain: KIND.free_port()?, tls })
    }
}
