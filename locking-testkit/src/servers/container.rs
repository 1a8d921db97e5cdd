use std::borrow::Cow;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use testcontainers::bollard::query_parameters::KillContainerOptionsBuilder;
use testcontainers::core::client::docker_client_instance;
use testcontainers::core::{CmdWaitFor, ContainerRequest, ExecCommand, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::error::ServerError;
use super::process::last_lines;
use super::program;

/// On every container that is started here, so that leftovers are found by it.
const LABEL: &str = "io.github.locking-rs.testkit";

/// The variable that names the label's value, by which those of one run are told from others'.
const RUN: &str = "LOCKING_TEST_RUN";

/// Removes its container when the test is gone.
const LEASH: &str = include_str!("container-leash.sh");

/// How long Docker may take to say that it is there.
const PROBE: Duration = Duration::from_secs(2);

/// How long an image may take to be pulled, and a container to be started.
const START: Duration = Duration::from_secs(180);

/// How long a server may take to end before it is killed, in seconds.
const END: i32 = 20;

/// What a container is made of.
pub(super) struct ContainerSetup {
    pub(super) server: &'static str,
    /// Its image with the tag, such as `redis:7`.
    pub(super) image: String,
    pub(super) environment: Vec<(String, String)>,
    pub(super) command: Vec<String>,
    /// Paths in the container, with what stands there.
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// Ports of this machine, with those of the container that they are for.
    pub(super) ports: Vec<(SocketAddr, u16)>,
}

/// A server in a container, on a leash.
pub(super) struct ServerContainer {
    server: &'static str,
    name: String,
    /// It would need a runtime to be dropped; the leash does what its end would do.
    container: ManuallyDrop<ContainerAsync<GenericImage>>,
    // Whether it should run. Held while that changes.
    runs: Mutex<bool>,
    leash: Leash,
}

impl ServerContainer {
    /// Starts one. It needs a moment more until it answers.
    pub(super) async fn start(setup: ContainerSetup) -> Result<Self, ServerError> {
        let (server, name) = (setup.server, format!("locking-test-{:016x}", fastrand::u64(..)));
        // Before the container: whenever the test ends, it is removed.
        let leash = Leash::new(&name).map_err(|error| failed(server, &format!("sh: {error}")))?;
        let started = timeout(START, setup.request(&name).start()).await;
        let container = match started {
            Ok(Ok(container)) => container,
            // What is displayed hides the cause.
            Ok(Err(error)) => return Err(failed(server, &format!("{error}: {error:?}"))),
            Err(_) => {
                return Err(ServerError::TimedOut { server, what: "to start", within: START });
            }
        };
        let container = ManuallyDrop::new(container);
        Ok(Self { server, name, container, runs: Mutex::new(true), leash })
    }

    pub(super) async fn start_again(&self) -> Result<(), ServerError> {
        let mut runs = self.runs.lock().await;
        if !*runs {
            self.container.start().await.map_err(|error| self.failed(error))?;
            *runs = true;
        }
        Ok(())
    }

    /// Kills all its processes, and returns when they are gone.
    pub(super) async fn kill(&self) -> Result<(), ServerError> {
        let mut runs = self.runs.lock().await;
        if *runs {
            // With the first process the system ends the others, but they have the time to see that and
            // to say a last word. So they go before it, and it is stopped: it starts no more.
            self.signal("SIGSTOP").await?;
            let others = ExecCommand::new(["sh", "-c", "kill -KILL -1"]);
            // That there are none is told by its exit code.
            let others = others.with_cmd_ready_condition(CmdWaitFor::exit());
            let killed = self.container.exec(others).await;
            self.signal("SIGKILL").await?;
            // Waits for its end, where that isn't seen yet.
            self.end().await?;
            *runs = false;
            killed.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    /// Sends its first process a signal that ends it, and returns when it has ended.
    pub(super) async fn end_by(&self, signal: &str) -> Result<(), ServerError> {
        let mut runs = self.runs.lock().await;
        if *runs {
            self.signal(signal).await?;
            self.end().await?;
            *runs = false;
        }
        Ok(())
    }

    pub(super) async fn stop(&self) -> Result<(), ServerError> {
        let mut runs = self.runs.lock().await;
        if *runs {
            self.end().await?;
            *runs = false;
        }
        Ok(())
    }

    async fn signal(&self, signal: &str) -> Result<(), ServerError> {
        let docker = docker_client_instance().await.map_err(|error| self.failed(error))?;
        let signal = KillContainerOptionsBuilder::new().signal(signal).build();
        let sent = docker.kill_container(&self.name, Some(signal)).await;
        sent.map_err(|error| self.failed(error))
    }

    async fn end(&self) -> Result<(), ServerError> {
        let ended = self.container.stop_with_timeout(Some(END)).await;
        ended.map_err(|error| self.failed(error))
    }

    pub(super) async fn pause(&self) -> Result<(), ServerError> {
        self.container.pause().await.map_err(|error| self.failed(error))
    }

    pub(super) async fn resume(&self) -> Result<(), ServerError> {
        self.container.unpause().await.map_err(|error| self.failed(error))
    }

    /// An error if it ended by itself, with what it said last.
    pub(super) async fn check(&self) -> Result<(), ServerError> {
        if self.container.is_running().await.map_err(|error| self.failed(error))? {
            return Ok(());
        }
        let mut log = self.container.stdout_to_vec().await.unwrap_or_default();
        log.extend(self.container.stderr_to_vec().await.unwrap_or_default());
        let log = last_lines(&String::from_utf8_lossy(&log));
        Err(failed(self.server, &format!("the container ended\n{log}")))
    }

    fn failed(&self, error: impl std::fmt::Display + std::fmt::Debug) -> ServerError {
        failed(self.server, &format!("{error}: {error:?}"))
    }
}

impl Drop for ServerContainer {
    fn drop(&mut self) {
        self.leash.remove();
    }
}

impl std::fmt::Debug for ServerContainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerContainer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ContainerSetup {
    fn request(self, name: &str) -> ContainerRequest<GenericImage> {
        let (image, tag) = match self.image.rsplit_once(':') {
            // A registry has a port, and then a path.
            Some((image, tag)) if !tag.contains('/') => (image, tag),
            _ => (self.image.as_str(), "latest"),
        };
        let image = GenericImage::new(image, tag).with_wait_for(WaitFor::Nothing);
        let mut request = image.with_container_name(name).with_label(LABEL, named(RUN, "1"));
        for (path, contents) in self.files {
            request = request.with_copy_to(path, contents);
        }
        for (variable, value) in self.environment {
            request = request.with_env_var(variable, value);
        }
        let ports = self.ports;
        request
            .with_cmd(self.command)
            .with_startup_timeout(START)
            // On 127.0.0.1 alone, and on the same port when it is started again.
            .with_host_config_modifier(move |host| {
                use testcontainers::bollard::models::PortBinding;

                let bindings = ports.iter().map(|(outside, inside)| {
                    let binding = PortBinding {
                        host_ip: Some(outside.ip().to_string()),
                        host_port: Some(outside.port().to_string()),
                    };
                    (format!("{inside}/tcp"), Some(vec![binding]))
                });
                host.publish_all_ports = Some(false);
                host.port_bindings = Some(bindings.collect());
            })
    }
}

/// What a variable names, such as an image, or else this.
pub(super) fn named(variable: &str, default: &str) -> String {
    let named = std::env::var(variable).ok().filter(|named| !named.is_empty());
    named.unwrap_or_else(|| default.to_owned())
}

/// Whether containers can be started here; the error says why not.
pub(super) async fn probe() -> Result<(), String> {
    let asked = async {
        let docker = docker_client_instance().await.map_err(|error| error.to_string())?;
        // What is displayed hides the cause.
        docker.ping().await.map_err(|error| format!("Docker: {error:?}"))
    };
    let answer = timeout(PROBE, asked).await;
    answer.map_err(|_| format!("Docker doesn't answer within {PROBE:?}"))??;
    match program::find("docker") {
        Some(_) => Ok(()),
        None => Err("there is no `docker` program, which removes containers".to_owned()),
    }
}

/// Removes a container when the test is gone. Dropped without [`remove`](Self::remove), it goes on
/// looking for a while: the container may have been asked for a moment before.
struct Leash(Child);

impl Leash {
    fn new(container: &str) -> std::io::Result<Self> {
        let docker = program::find("docker");
        let docker = docker.map_or(Cow::Borrowed("docker".as_ref()), |docker| {
            Cow::<std::ffi::OsStr>::Owned(docker.into_os_string())
        });
        let mut command = Command::new("sh");
        command.args(["-c", LEASH, "leash"]).arg(docker).arg(container);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // An interrupt from the keyboard is for the test; the leash cleans up after it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.spawn().map(Self)
    }

    /// Removes a container that was started as a whole, and returns when it is gone.
    fn remove(&mut self) {
        use std::io::Write;

        if let Some(mut pipe) = self.0.stdin.take() {
            // Once is enough.
            let _ = pipe.write_all(b"dropped\n");
        }
        // Less than a second; then its ports are free.
        let _ = self.0.wait();
    }
}

fn failed(server: &'static str, problem: &str) -> ServerError {
    ServerError::Failed { server, problem: problem.to_owned() }
}
