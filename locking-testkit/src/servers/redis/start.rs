use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::address::Address;
use super::handle::Redis;
use super::setup::RedisSetup;
use super::{ADVICE, DEFAULT_IMAGE, IMAGE, NAME, URL};
use crate::servers::container::{ContainerSetup, ServerContainer};
use crate::servers::error::{ServerError, Tried};
use crate::servers::owned::Owned;
use crate::servers::process::ServerProcess;
use crate::servers::source::Source;
use crate::servers::{container, port, program};

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
    if forced != Some(Source::Process) {
        match container::probe().await {
            Err(why) => tried.add(Source::Container, why),
            Ok(()) => match started(setup, &Way::Container).await {
                // An image that can't be had, say: a process may do.
                Err(error) if forced.is_none() => tried.add(Source::Container, error.to_string()),
                other => return other,
            },
        }
    }
    if forced != Some(Source::Container) {
        match program::find("redis-server") {
            Some(program) => return started(setup, &Way::Process(program)).await,
            None => tried.add(Source::Process, "there is no `redis-server`"),
        }
    }
    Err(not_to_be_had(tried))
}

/// How a server is started.
enum Way {
    Container,
    Process(PathBuf),
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

/// Starts a server and waits until it answers, on other ports where somebody else took these
/// meanwhile.
async fn started(setup: &RedisSetup, way: &Way) -> Result<Redis, ServerError> {
    let mut attempt = 1;
    loop {
        match start(setup, way).await {
            Err(ServerError::Failed { problem, .. })
                if is_taken(&problem) && attempt < ATTEMPTS =>
            {
                attempt += 1;
            }
            other => return other,
        }
    }
}

async fn start(setup: &RedisSetup, way: &Way) -> Result<Redis, ServerError> {
    let ports = ports(setup)?;
    let owned = match way {
        Way::Container => contained(setup, ports).await?,
        Way::Process(program) => process(setup, program, ports)?,
    };
    let address = Address::local(ports.plain, setup.password.clone());
    let redis = Redis::new(address, ports.plain, ports.tls, Some(owned));
    redis.start_again().await?;
    Ok(redis)
}

/// Whether somebody else has the port, in the words of a server or of Docker.
fn is_taken(problem: &str) -> bool {
    problem.contains("already in use") || problem.contains("already allocated")
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

async fn contained(setup: &RedisSetup, ports: Ports) -> Result<Owned, ServerError> {
    let mut lines = setup.configuration();
    // Clients come over the container's network.
    lines.push_str("bind 0.0.0.0\nprotected-mode no\nport 6379\ndir /data\n");
    let mut inside = vec![(ports.plain, 6379)];
    if let Some(tls) = ports.tls {
        lines.push_str("tls-port 6380\n");
        inside.push((tls, 6380));
    }
    let files = setup.files.iter().cloned();
    let files = files.chain([(CONFIGURATION.to_owned(), lines.into_bytes())]);
    let container = ContainerSetup {
        server: NAME,
        image: std::env::var(IMAGE).unwrap_or_else(|_| DEFAULT_IMAGE.to_owned()),
        command: vec!["redis-server".to_owned(), format!("/data/{CONFIGURATION}")],
        files: files.map(|(name, contents)| (format!("/data/{name}"), contents)).collect(),
        ports: inside,
    };
    Ok(Owned::Container(Box::new(ServerContainer::start(container).await?)))
}

fn failed(what: &str, error: &std::io::Error) -> ServerError {
    ServerError::Failed { server: NAME, problem: format!("{what}: {error}") }
}
