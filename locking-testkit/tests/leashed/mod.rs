//! What becomes of a server whose test is killed.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs a test of this program that calls [`wait_at`], kills it, and waits for its server's end.
pub(crate) fn ends_with_its_test(name: &str) {
    let mut test = Command::new(std::env::current_exe().expect("a path"));
    test.args(["--exact", name, "--ignored", "--nocapture"]);
    let mut test = test.stdout(Stdio::piped()).spawn().expect("started");
    let lines = BufReader::new(test.stdout.take().expect("piped")).lines();
    let mut said = lines.map_while(Result::ok).filter_map(|line| {
        line.strip_prefix("listening on ").and_then(|said| said.parse::<SocketAddr>().ok())
    });
    let address = said.next().expect("it says where");
    TcpStream::connect(address).expect("it runs");
    test.kill().expect("killed");
    test.wait().expect("it is gone");
    let give_up = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < give_up, "the server at {address} was left behind");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Says where its server is, and waits until it is killed.
pub(crate) async fn wait_at(address: SocketAddr) {
    println!("\nlistening on {address}");
    tokio::time::sleep(Duration::from_secs(60)).await;
}
