use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Below the ports that systems give to outgoing connections: a client that tries again and again
/// while its server is gone could else be connected to itself, and would hold the server's port.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

const ATTEMPTS: usize = 100;

/// A port of 127.0.0.1 on which nobody listens at the moment. Whoever uses it must expect that
/// somebody else was faster.
pub(super) fn free() -> io::Result<SocketAddr> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(RANGE)));
        match TcpListener::bind(address) {
            Ok(_) => return Ok(address),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}
