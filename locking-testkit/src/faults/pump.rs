use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::connection::Connection;
use super::fault::{Cut, Direction};

/// The most that is read at once.
const PIECE: usize = 16 << 10;

/// How many pieces may be on their way; then the sender has to wait, as on any network.
const ON_THE_WAY: usize = 256;

/// How long an end that is closed in good order may go on sending.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Carries a connection until it ends, or is cut.
pub(super) async fn carry(mut client: TcpStream, mut server: TcpStream, connection: &Connection) {
    // What one side writes is passed on at once, not collected.
    let _ = client.set_nodelay(true).and(server.set_nodelay(true));
    let cut = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let both = async {
            tokio::try_join!(
                pump(from_client, to_server, Direction::ToServer, connection),
                pump(from_server, to_client, Direction::ToClient, connection),
            )
        };
        tokio::select! {
            cut = connection.until_cut() => cut,
            // In good order where both ended so.
            ended = both => ended.err().unwrap_or(Cut::Close),
        }
    };
    connection.end();
    match cut {
        Cut::Reset => reset(&[&client, &server]),
        Cut::Close => {
            tokio::join!(close(&mut client), close(&mut server));
        }
        Cut::HalfOpen { told } => {
            let (told, untold) = match told {
                Direction::ToServer => (server, client),
                Direction::ToClient => (client, server),
            };
            reset(&[&told]);
            drop(told);
            lose_all(untold).await;
        }
    }
}

/// Tells a client that there is no server.
pub(super) async fn refuse(client: TcpStream, connection: &Connection) {
    tokio::select! {
        _ = connection.until_cut() => {}
        () = connection.until_an_end_shows(Direction::ToClient) => {}
    }
    reset(&[&client]);
}

/// Makes the end of these a reset: they are dropped next.
pub(super) fn reset(ends: &[&TcpStream]) {
    for end in ends {
        // An end that is gone already can't be reset.
        let _ = end.set_zero_linger();
    }
}

/// Says the farewell, and lets the other side finish: what it sends to nobody would make a reset of
/// it.
async fn close(end: &mut TcpStream) {
    let _ = end.shutdown().await;
    let _ = timeout(LAST_WORDS, lose_all(end)).await;
}

/// Takes in what an end sends until it ends.
async fn lose_all(mut end: impl AsyncRead + Unpin) {
    let mut lost = vec![0; PIECE];
    while end.read(&mut lost).await.is_ok_and(|bytes| bytes > 0) {}
}

/// What is on its way.
struct Piece {
    due: Instant,
    bytes: Vec<u8>,
    then: Option<Cut>,
}

/// Carries one way until its sender ends; the error is how the connection is to be cut.
async fn pump(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    way: Direction,
    connection: &Connection,
) -> Result<(), Cut> {
    let (send, receive) = mpsc::channel(ON_THE_WAY);
    tokio::try_join!(read(from, way, connection, send), write(to, way, connection, receive),)?;
    Ok(())
}

/// Puts what comes on its way, until nothing comes any more.
async fn read(
    mut from: ReadHalf<'_>,
    way: Direction,
    connection: &Connection,
    on_the_way: mpsc::Sender<Piece>,
) -> Result<(), Cut> {
    let mut buffer = vec![0; PIECE];
    loop {
        let heard = from.read(&mut buffer).await;
        if matches!(heard, Ok(0) | Err(_)) {
            connection.until_an_end_shows(way).await;
        }
        let piece = match heard {
            Ok(0) => return Ok(()),
            Ok(bytes) => {
                let verdict = connection.judge(way, bytes);
                let due = Instant::now() + verdict.delay;
                Piece { due, bytes: buffer[..verdict.pass].to_vec(), then: verdict.cut }
            }
            // An end that broke off breaks off the other, behind what it had sent.
            Err(_) => Piece { due: Instant::now(), bytes: Vec::new(), then: Some(Cut::Reset) },
        };
        let is_last = piece.then.is_some();
        if on_the_way.send(piece).await.is_err() || is_last {
            return Ok(());
        }
    }
}

async fn write(
    mut to: WriteHalf<'_>,
    way: Direction,
    connection: &Connection,
    mut on_the_way: mpsc::Receiver<Piece>,
) -> Result<(), Cut> {
    while let Some(Piece { due, bytes, then }) = on_the_way.recv().await {
        sleep_until(due).await;
        connection.until_let_go(way).await;
        if to.write_all(&bytes).await.is_err() {
            return is_gone(way, connection).await;
        }
        if let Some(cut) = then {
            return Err(cut);
        }
    }
    if to.shutdown().await.is_err() {
        return is_gone(way, connection).await;
    }
    Ok(())
}

/// The end to which this way leads broke off, which is seen the other way.
async fn is_gone(way: Direction, connection: &Connection) -> Result<(), Cut> {
    connection.until_an_end_shows(way.back()).await;
    Err(Cut::Reset)
}
