//! The proxy's faults, seen by a client and by the server behind it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use locking_testkit::faults::{Connection, Cut, Direction, Fault, Proxy, Since};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(2);
/// Long enough for what shouldn't come.
const QUIET: Duration = Duration::from_millis(60);

#[tokio::test]
async fn without_a_fault_everything_passes_and_is_counted() {
    let (proxy, _server) = echo().await;
    let mut client = connect(&proxy).await;
    for text in ["one", "and another"] {
        assert_eq!(say(&mut client, text).await, text);
    }
    let big = "x".repeat(1 << 20);
    assert_eq!(say(&mut client, &big).await, big);
    let counts = proxy.counts();
    let bytes = (3 + 11 + big.len()) as u64;
    assert_eq!((counts.connections, counts.bytes_to_server), (1, bytes));
    assert_eq!(counts.bytes(Direction::ToClient), bytes);
    assert!(counts.pieces_to_server >= 3, "{counts:?}");
    assert_eq!(proxy.connections()[0].counts(), counts);
    assert_eq!(proxy.counts().since(&counts).bytes_to_server, 0);
}

#[tokio::test]
async fn a_close_of_one_side_reaches_the_other_behind_its_bytes() {
    let (proxy, server) = echo().await;
    let mut client = connect(&proxy).await;
    client.write_all(b"last words").await.expect("written");
    client.shutdown().await.expect("closed");
    let mut heard = String::new();
    timeout(SOON, client.read_to_string(&mut heard)).await.expect("in time").expect("read");
    assert_eq!(heard, "last words");
    until(|| server.heard() == "last words" && proxy.connections().is_empty()).await;
}

#[tokio::test]
async fn a_cut_is_a_reset_or_a_close_for_both_sides() {
    for cut in [Cut::Reset, Cut::Close] {
        let (proxy, server) = echo().await;
        let (mut one, mut other) = (connect(&proxy).await, connect(&proxy).await);
        say(&mut one, "1").await;
        say(&mut other, "2").await;
        let connections = proxy.connections();
        assert_eq!(connections.iter().map(Connection::number).collect::<Vec<_>>(), [0, 1]);
        connections[0].cut(cut);
        assert_eq!(end(&mut one).await, cut);
        assert_eq!(say(&mut other, "still there").await, "still there");
        until(|| server.ends() == [cut]).await;
        proxy.cut(cut);
        assert_eq!(end(&mut other).await, cut);
        until(|| proxy.connections().is_empty() && !connections[1].is_open()).await;
        assert_eq!(say(&mut connect(&proxy).await, "new").await, "new");
    }
}

#[tokio::test]
async fn of_a_half_open_connection_one_end_knows() {
    let (proxy, server) = echo().await;
    let mut client = connect(&proxy).await;
    say(&mut client, "1").await;
    proxy.cut(Cut::HalfOpen { told: Direction::ToServer });
    until(|| server.ends() == [Cut::Reset]).await;
    client.write_all(b"lost").await.expect("it seems to be there");
    let answer = timeout(QUIET, client.read_u8()).await;
    assert!(answer.is_err(), "nothing comes, nor an end: {answer:?}");
    assert_eq!(server.heard(), "1");

    let mut client = connect(&proxy).await;
    say(&mut client, "2").await;
    proxy.cut(Cut::HalfOpen { told: Direction::ToClient });
    assert_eq!(end(&mut client).await, Cut::Reset);
    tokio::time::sleep(QUIET).await;
    assert_eq!(server.ends(), [Cut::Reset], "the second end is not known there");
}

#[tokio::test]
async fn new_connections_are_refused_until_restored() {
    let (proxy, _server) = echo().await;
    let mut client = connect(&proxy).await;
    say(&mut client, "1").await;
    proxy.refuse();
    let mut refused = TcpStream::connect(proxy.address()).await.expect("the port is there");
    assert_eq!(end(&mut refused).await, Cut::Reset);
    assert_eq!(say(&mut client, "2").await, "2", "who is connected stays so");
    proxy.restore();
    assert_eq!(say(&mut connect(&proxy).await, "3").await, "3");
    assert_eq!(proxy.counts().connections, 2);
}

#[tokio::test]
async fn a_delay_is_that_of_its_direction_and_keeps_the_order() {
    let (proxy, server) = echo().await;
    let mut client = connect(&proxy).await;
    let by = Duration::from_millis(150);
    proxy.inject(Fault::Delay { direction: Direction::ToClient, by });
    let began = Instant::now();
    client.write_all(b"a").await.expect("written");
    until(|| server.heard() == "a").await;
    assert!(began.elapsed() < by, "there it is at once: {:?}", began.elapsed());
    client.write_all(b"b").await.expect("written");
    assert_eq!(hear(&mut client, 2).await, "ab");
    assert!(began.elapsed() >= by, "and back late: {:?}", began.elapsed());
    assert!(began.elapsed() < by * 2, "one behind the other: {:?}", began.elapsed());
    proxy.restore();
    let began = Instant::now();
    say(&mut client, "c").await;
    assert!(began.elapsed() < by);
}

#[tokio::test]
async fn what_is_held_comes_later_and_what_is_swallowed_never() {
    let (proxy, server) = echo().await;
    let mut client = connect(&proxy).await;
    proxy.inject(Fault::Hold { direction: Direction::ToServer });
    client.write_all(b"held").await.expect("written");
    tokio::time::sleep(QUIET).await;
    assert_eq!(server.heard(), "");
    proxy.restore();
    assert_eq!(hear(&mut client, 4).await, "held");

    proxy.inject(Fault::Swallow { direction: Direction::ToClient });
    client.write_all(b"gone").await.expect("written");
    until(|| server.heard() == "heldgone").await;
    assert!(timeout(QUIET, client.read_u8()).await.is_err(), "neither an answer nor an end");
    proxy.restore();
    assert_eq!(say(&mut client, "next").await, "next");
}

#[tokio::test]
async fn an_end_comes_when_what_holds_or_swallows_it_is_taken_back() {
    for fault in [|direction| Fault::Hold { direction }, |direction| Fault::Swallow { direction }] {
        for cut in [Cut::Reset, Cut::Close] {
            let (behind, server) = echo().await;
            let proxy = Proxy::to(behind.address()).await.expect("a proxy");
            let mut client = connect(&proxy).await;
            say(&mut client, "1").await;
            proxy.inject(fault(Direction::ToClient));
            behind.cut(cut);
            until(|| server.ends() == [cut]).await;
            let heard = timeout(QUIET, client.read_u8()).await;
            assert!(heard.is_err(), "the client sees an open connection: {heard:?}");
            proxy.restore();
            assert_eq!(end(&mut client).await, cut);
            drop(client);
            until(|| proxy.connections().is_empty()).await;

            let mut client = connect(&proxy).await;
            say(&mut client, "2").await;
            proxy.inject(fault(Direction::ToServer));
            ends(client, cut);
            tokio::time::sleep(QUIET).await;
            assert_eq!(server.ends(), [cut], "the server sees an open connection");
            proxy.restore();
            until(|| server.ends() == [cut, cut] && proxy.connections().is_empty()).await;
        }
    }
}

#[tokio::test]
async fn what_comes_for_an_end_that_is_gone_does_not_tell_of_that() {
    for fault in [|direction| Fault::Hold { direction }, |direction| Fault::Swallow { direction }] {
        let (proxy, server) = echo().await;
        let mut client = connect(&proxy).await;
        proxy.inject(Fault::Delay { direction: Direction::ToClient, by: QUIET / 2 });
        client.write_all(b"1").await.expect("written");
        until(|| server.heard() == "1").await;
        proxy.inject(fault(Direction::ToServer));
        ends(client, Cut::Reset);
        tokio::time::sleep(QUIET).await;
        assert_eq!(server.ends(), [], "the server sees an open connection");
        proxy.restore();
        until(|| server.ends() == [Cut::Reset]).await;
    }
}

#[tokio::test]
async fn a_swallowed_connection_without_ends_is_over_when_it_is_cut_or_its_proxy_is_dropped() {
    let (proxy, server) = echo().await;
    for times in 1..=2 {
        let mut client = connect(&proxy).await;
        say(&mut client, "1").await;
        for direction in [Direction::ToServer, Direction::ToClient] {
            proxy.inject(Fault::Swallow { direction });
        }
        ends(client, Cut::Reset);
        tokio::time::sleep(QUIET).await;
        assert_eq!(proxy.connections().len(), 1, "nobody was told of its end");
        if times == 2 {
            break;
        }
        proxy.cut(Cut::Reset);
        until(|| proxy.connections().is_empty() && server.ends() == [Cut::Reset]).await;
        proxy.restore();
    }
    drop(proxy);
    until(|| server.ends().len() == 2).await;
}

#[tokio::test]
async fn a_lost_reply_is_one_to_a_request_that_was_heard() {
    let (proxy, server) = echo().await;
    let (mut client, mut other) = (connect(&proxy).await, connect(&proxy).await);
    say(&mut client, "1").await;
    say(&mut other, "2").await;
    proxy.inject(Fault::LoseReply { cut: Cut::Reset });
    client.write_all(b"do it").await.expect("written");
    assert_eq!(end(&mut client).await, Cut::Reset);
    assert!(server.heard().ends_with("do it"), "{}", server.heard());
    assert_eq!(say(&mut other, "3").await, "3", "it happens once");
    assert_eq!(say(&mut connect(&proxy).await, "4").await, "4");
}

#[tokio::test]
async fn a_connection_is_cut_at_every_byte() {
    for cut in [Cut::Reset, Cut::Close] {
        for bytes in 0..=6 {
            let (proxy, server) = echo().await;
            let mut client = connect(&proxy).await;
            say(&mut client, "before").await;
            let since = Since::Now;
            proxy.inject(Fault::CutAfter { direction: Direction::ToServer, bytes, since, cut });
            client.write_all(b"abcdef").await.expect("written");
            // Some of it may be echoed before the cut arrives.
            let ended = rest(&mut client).await.1;
            assert_eq!(ended, cut);
            let heard = format!("before{}", &"abcdef"[..usize::try_from(bytes).expect("small")]);
            until(|| server.heard() == heard && server.ends() == [cut]).await;
        }
    }
}

#[tokio::test]
async fn bytes_to_the_client_are_counted_from_now_or_from_the_start() {
    let (proxy, _server) = echo().await;
    let mut client = connect(&proxy).await;
    say(&mut client, "12345").await;
    let (direction, cut) = (Direction::ToClient, Cut::Close);
    let connection = proxy.connections().remove(0);
    connection.inject(Fault::CutAfter { direction, bytes: 8, since: Since::Start, cut });
    client.write_all(b"67890").await.expect("written");
    assert_eq!(rest(&mut client).await, ("678".to_owned(), cut));

    // Those of all connections together.
    let (mut one, mut other) = (connect(&proxy).await, connect(&proxy).await);
    proxy.inject(Fault::CutAfter { direction, bytes: 5, since: Since::Now, cut });
    assert_eq!(say(&mut one, "abc").await, "abc");
    other.write_all(b"abc").await.expect("written");
    assert_eq!(rest(&mut other).await, ("ab".to_owned(), cut));
    assert_eq!(say(&mut one, "it happens once").await, "it happens once");

    proxy.inject(Fault::CutAfter { direction, bytes: 3, since: Since::Start, cut });
    let mut fresh = connect(&proxy).await;
    fresh.write_all(b"abcdef").await.expect("written");
    assert_eq!(rest(&mut fresh).await, ("abc".to_owned(), cut));
}

#[tokio::test]
async fn a_server_that_is_away_resets_and_may_come_later() {
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = gone.local_addr().expect("bound");
    drop(gone);
    let proxy = Proxy::to(address).await.expect("a proxy");
    assert_eq!(end(&mut connect(&proxy).await).await, Cut::Reset);
    proxy.inject(Fault::Hold { direction: Direction::ToClient });
    let mut client = connect(&proxy).await;
    assert!(timeout(QUIET, client.read_u8()).await.is_err(), "a network that was away tells later");
    proxy.restore();
    assert_eq!(end(&mut client).await, Cut::Reset);
    let server = Echo::at(address).await;
    assert_eq!(say(&mut connect(&proxy).await, "here").await, "here");
    drop(server);
}

#[tokio::test]
async fn a_dropped_proxy_ends_with_its_connections() {
    let (proxy, _server) = echo().await;
    let (mut client, address) = (connect(&proxy).await, proxy.address());
    say(&mut client, "1").await;
    drop(proxy);
    rest(&mut client).await;
    assert!(TcpStream::connect(address).await.is_err());
}

/// A server that answers what it hears, and remembers it.
struct Echo {
    address: SocketAddr,
    memory: Arc<Mutex<Memory>>,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Memory {
    heard: String,
    ends: Vec<Cut>,
}

impl Echo {
    async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let memory = Arc::<Mutex<Memory>>::default();
        let remembering = Arc::clone(&memory);
        let serving = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.expect("accepted");
                tokio::spawn(answer(client, Arc::clone(&remembering)));
            }
        });
        Self { address, memory, serving }
    }

    fn heard(&self) -> String {
        self.memory.lock().expect("not poisoned").heard.clone()
    }

    fn ends(&self) -> Vec<Cut> {
        self.memory.lock().expect("not poisoned").ends.clone()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(mut client: TcpStream, memory: Arc<Mutex<Memory>>) {
    let mut buffer = [0; 4096];
    let end = loop {
        match client.read(&mut buffer).await {
            Ok(0) => break Cut::Close,
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&buffer[..bytes]).into_owned();
                memory.lock().expect("not poisoned").heard.push_str(&text);
                // A reset is told once, to whoever reads or writes first.
                if client.write_all(&buffer[..bytes]).await.is_err() {
                    break Cut::Reset;
                }
            }
            Err(_) => break Cut::Reset,
        }
    };
    memory.lock().expect("not poisoned").ends.push(end);
}

async fn echo() -> (Proxy, Echo) {
    let server = Echo::at(([127, 0, 0, 1], 0).into()).await;
    (Proxy::to(server.address).await.expect("a proxy"), server)
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.expect("connected")
}

fn ends(client: TcpStream, cut: Cut) {
    if cut == Cut::Reset {
        client.set_zero_linger().expect("a connection");
    }
    drop(client);
}

async fn say(client: &mut TcpStream, text: &str) -> String {
    let (mut from, mut to) = client.split();
    let write = async { to.write_all(text.as_bytes()).await.expect("written") };
    let mut answer = vec![0; text.len()];
    let read = async { from.read_exact(&mut answer).await.expect("answered") };
    timeout(SOON, async { tokio::join!(write, read) }).await.expect("in time");
    String::from_utf8(answer).expect("text")
}

async fn hear(client: &mut TcpStream, bytes: usize) -> String {
    let mut heard = vec![0; bytes];
    timeout(SOON, client.read_exact(&mut heard)).await.expect("in time").expect("read");
    String::from_utf8(heard).expect("text")
}

/// What still comes, and how it ends.
async fn rest(client: &mut TcpStream) -> (String, Cut) {
    let mut heard = Vec::new();
    let end = timeout(SOON, client.read_to_end(&mut heard)).await.expect("an end");
    let cut = match end {
        Ok(_) => Cut::Close,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Cut::Reset,
        Err(error) => panic!("another end: {error}"),
    };
    (String::from_utf8(heard).expect("text"), cut)
}

async fn end(client: &mut TcpStream) -> Cut {
    let (heard, cut) = rest(client).await;
    assert_eq!(heard, "");
    cut
}

async fn until(condition: impl Fn() -> bool) {
    let give_up = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < give_up, "not in time");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
