use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::connection::Connection;
use super::counts::{Counter, Counts};
use super::fault::{Cut, Fault};
use super::pump;
use super::rules::Injected;

/// A TCP proxy before a server, which fails on demand.
///
/// It listens on a port of its own of 127.0.0.1, and connects to the server once for each connection
/// of a client; where that fails, the client's is reset. It lives on the runtime on which it was
/// made. Dropped, it ends and its connections with it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    counter: Arc<Counter>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    server: SocketAddr,
    /// For connections that are to come.
    faults: Vec<Injected>,
    refuses: bool,
    open: Vec<Connection>,
    next: u64,
}

impl Proxy {
    /// A proxy to this server, without a fault. The server needn't be there yet.
    ///
    /// # Errors
    ///
    /// The system's if no port can be listened on.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with its I/O and time enabled.
    pub async fn to(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = State { server, faults: Vec::new(), refuses: false, open: Vec::new(), next: 0 };
        let shared = Arc::new(Shared { counter: Arc::default(), state: Mutex::new(state) });
        let accepting = tokio::spawn(Arc::clone(&shared).accept(listener));
        Ok(Self { address, shared, accepting })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server behind it.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        self.shared.state().server
    }

    /// Leads new connections to another server, as a name does after a fail-over; those that are open go on
    /// to the one before.
    pub fn lead_to(&self, server: SocketAddr) {
        self.shared.state().server = server;
    }

    /// The connections that are open, in the order in which they came.
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        let state = self.shared.state();
        state.open.iter().filter(|connection| connection.is_open()).cloned().collect()
    }

    /// What all connections together have carried so far, those that ended too.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counter.counts()
    }

    /// Injects a fault into all connections, those that are open and those to come, besides the
    /// faults that they have.
    pub fn inject(&self, fault: Fault) {
        let (injected, mut state) = (Injected::new(fault), self.shared.state());
        state.open.iter().for_each(|connection| connection.add(injected.clone()));
        state.faults.retain(|earlier| !earlier.has_happened());
        state.faults.push(injected);
    }

    /// Ends all open connections now. What was on its way is lost; new ones are served.
    pub fn cut(&self, cut: Cut) {
        self.shared.state().open.iter().for_each(|connection| connection.cut(cut));
    }

    /// Resets every new connection at once; those that are open go on.
    pub fn refuse(&self) {
        self.shared.state().refuses = true;
    }

    /// Takes back all faults of all connections and serves new ones. What was lost stays lost.
    pub fn restore(&self) {
        let mut state = self.shared.state();
        (state.refuses, state.faults) = (false, Vec::new());
        state.open.iter().for_each(Connection::restore);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Its connections are tasks of this one.
        self.accepting.abort();
    }
}

impl Shared {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut carrying = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((client, _)) => match self.admit() {
                        None => pump::reset(&[&client]),
                        Some(connection) => {
                            carrying.spawn(Arc::clone(&self).serve(client, connection));
                        }
                    },
                    // Out of files, say: others may be given back meanwhile.
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                },
                Some(_) = carrying.join_next() => {}
            }
        }
    }

    /// The next connection, if none is refused.
    fn admit(&self) -> Option<Connection> {
        let mut state = self.state();
        if state.refuses {
            return None;
        }
        let connection = Connection::new(state.next, Arc::clone(&self.counter), &state.faults);
        state.next += 1;
        state.open.push(connection.clone());
        Some(connection)
    }

    async fn serve(self: Arc<Self>, client: TcpStream, connection: Connection) {
        let server = self.state().server;
        match TcpStream::connect(server).await {
            Ok(server) => pump::carry(client, server, &connection).await,
            Err(_) => pump::refuse(client, &connection).await,
        }
        connection.end();
        self.state().open.retain(|open| open.number() != connection.number());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
