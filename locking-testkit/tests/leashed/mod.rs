//! What becomes of a server and its folder whose test is killed.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Runs a test of this program that calls [`wait_at`], kills it, and waits for its server's end.
pub(crate) fn ends_with_its_test(name: &str) {
    let mut test = Test::start(name);
    let address = test.address();
    TcpStream::connect(address).expect("it runs");
    test.kill();
    until(&format!("the server at {address}"), || TcpStream::connect(address).is_err());
    test.until_its_folder_is_empty();
}

/// The same for a test that has stopped its server.
pub(crate) fn leaves_nothing_of_a_stopped_server(name: &str) {
    let mut test = Test::start(name);
    let address = test.address();
    TcpStream::connect(address).expect_err("it is stopped");
    test.kill();
    test.until_its_folder_is_empty();
}

/// Kills a test as soon as its server has a folder, which a server in a container never has.
pub(crate) fn leaves_nothing_of_a_start(name: &str) {
    let (mut test, give_up) = (Test::start(name), Instant::now() + Duration::from_secs(5));
    while test.folders() == 0 && Instant::now() < give_up {
        sleep(Duration::from_millis(1));
    }
    test.kill();
    test.until_its_folder_is_empty();
}

/// Says where its server is, and waits until it is killed.
pub(crate) async fn wait_at(address: SocketAddr) {
    println!("\nlistening on {address}");
    tokio::time::sleep(Duration::from_secs(60)).await;
}

/// A test that is killed.
struct Test {
    process: Child,
    /// For its temporary files.
    folder: TempDir,
}

impl Test {
    fn start(name: &str) -> Self {
        let mut builder = tempfile::Builder::new();
        // A server that another account runs reaches its own folder through it.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755));
        let folder = builder.tempdir().expect("a folder");
        let mut test = Command::new(std::env::current_exe().expect("a path"));
        test.args(["--exact", name, "--ignored", "--nocapture"]).env("TMPDIR", folder.path());
        let process = test.stdout(Stdio::piped()).spawn().expect("started");
        Self { process, folder }
    }

    fn address(&mut self) -> SocketAddr {
        let lines = BufReader::new(self.process.stdout.take().expect("piped")).lines();
        let mut said = lines.map_while(Result::ok).filter_map(|line| {
            line.strip_prefix("listening on ").and_then(|said| said.parse::<SocketAddr>().ok())
        });
        said.next().expect("it says where")
    }

    fn kill(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("it is gone");
    }

    /// Files among them are for later servers.
    fn folders(&self) -> usize {
        let entries = self.folder.path().read_dir().expect("a folder").flatten();
        entries.filter(|entry| entry.path().is_dir()).count()
    }

    fn until_its_folder_is_empty(&self) {
        until("the server's folder", || self.folders() == 0);
    }
}

fn until(what: &str, is_gone: impl Fn() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(20);
    while !is_gone() {
        assert!(Instant::now() < give_up, "{what} was left behind");
        sleep(Duration::from_millis(5));
    }
}
