use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::address::Address;
use super::handle::Redis;
use super::setup::RedisSetup;
use super::{ADVICE, NAME, URL};
use crate::servers::error::{ServerError, Tried};
use crate::servers::owned::Owned;
use crate::servers::process::ServerProcess;
use crate::servers::source::Source;
use crate::servers::{port, program};

/// The server's configuration, in its folder.
pub(super) const CONFIGURATION: &str = "redis.conf";

/// A port can be taken by somebody else between the look and the start.
const ATTEMPTS: usize = 5;

/// The server of the environment, else one of our own.
pub(super) async fn any() -> Result<Redis, ServerError> {
    let named = std::env::var(URL).ok().filter(|url| !url.is_empty());
    match (Source::forced()?, named) {
        (None | Some(Source::Environment), Some(url)) => {
            let address = Address::parse(&url)?;
            let socket = address.resolve().await?;
            let redis = Redis::new(address, socket, None, None);
            redis.until_ready().await?;
            Ok(redis)
        }
        (Some(Source::Environment), None) => {
            let mut tried = Tried::default();
            tried.add(Source::Environment, format!("{URL} is not set"));
            Err(not_to_be_had(tried))
        }
        _ => own(&RedisSetup::new()).await,
    }
}

/// A server of our own.
pub(super) async fn own(setup: &RedisSetup) -> Result<Redis, ServerError> {
    let (mut tried, forced) = (Tried::default(), Source::forced()?);
    if forced == Some(Source::Environment) {
        tried.add(Source::Environment, "it names no server that nobody else uses");
        return Err(not_to_be_had(tried));
    }
    if forced != Some(Source::Container) {
        match program::find("redis-server") {
            Some(program) => {
                return started(setup, &Make::Process(program)).await;
            }
            None => tried.add(Source::Process, "there is no `redis-server`"),
        }
    }
    Err(not_to_be_had(tried))
}

fn not_to_be_had(tried: Tried) -> ServerError {
    ServerError::NotToBeHad { server: NAME, tried, advice: ADVICE.to_owned() }
}

/// The ports of a server.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    pub(super) plain: SocketAddr,
    pub(super) tls: Option<SocketAddr>,
}

/// How a server is made. No closure: what those borrow keeps futures from being sent between threads.
enum Make {
    Process(PathBuf),
}

impl Make {
    async fn server(&self, setup: &RedisSetup, ports: Ports) -> Result<Owned, ServerError> {
        match self {
            Self::Process(program) => process(setup, program, ports),
        }
    }
}

/// Starts a server that `make` makes and waits until it answers, on other ports where somebody else
/// took these meanwhile.
async fn started(setup: &RedisSetup, make: &Make) -> Result<Redis, ServerError> {
    let mut attempt = 1;
    loop {
        let ports = ports(setup)?;
        let started = async {
            let address = Address::local(ports.plain, setup.password.clone());
            let redis =
                Redis::new(address, ports.plain, ports.tls, Some(make.server(setup, ports).await?));
            redis.start_again().await?;
            Ok(redis)
        };
        match started.await {
            Err(ServerError::Failed { problem, .. })
                if problem.contains("already in use") && attempt < ATTEMPTS =>
            {
                attempt += 1;
            }
            other => return other,
        }
    }
}

fn ports(setup: &RedisSetup) -> Result<Ports, ServerError> {
    let free = || port::free().map_err(|error| failed("no free port", &error));
    Ok(Ports { plain: free()?, tls: if setup.tls { Some(free()?) } else { None } })
}

fn process(setup: &RedisSetup, program: &Path, ports: Ports) -> Result<Owned, ServerError> {
    let unwritten = |error| failed("its folder", &error);
    let folder = TempDir::with_prefix("locking-redis-").map_err(unwritten)?;
    for (name, contents) in &setup.files {
        std::fs::write(folder.path().join(name), contents).map_err(unwritten)?;
    }
    let mut lines = setup.configuration();
    lines.push_str(&format!("bind 127.0.0.1\nport {}\n", ports.plain.port()));
    if let Some(tls) = ports.tls {
        lines.push_str(&format!("tls-port {}\n", tls.port()));
    }
    std::fs::write(folder.path().join(CONFIGURATION), lines).map_err(unwritten)?;
    let program = program.to_owned();
    Ok(Owned::Process(ServerProcess::new(NAME, program, [CONFIGURATION], folder)))
}

fn failed(what: &str, error: &std::io::Error) -> ServerError {
    ServerError::Failed { server: NAME, problem: format!("{what}: {error}") }
}
