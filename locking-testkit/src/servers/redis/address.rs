use std::fmt;
use std::net::SocketAddr;

use super::{NAME, URL};
use crate::servers::error::ServerError;

const PORT: u16 = 6379;

/// A server's address in its parts. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) tls: bool,
    pub(super) user: String,
    pub(super) password: Option<String>,
    pub(super) host: String,
    pub(super) port: u16,
    /// Behind the port, with its slash.
    pub(super) database: String,
}

impl Address {
    /// That of a server on this machine.
    pub(super) fn local(socket: SocketAddr, password: Option<String>) -> Self {
        let (host, port) = (socket.ip().to_string(), socket.port());
        Self { tls: false, user: String::new(), password, host, port, database: String::new() }
    }

    /// That of the variable.
    pub(super) fn parse(url: &str) -> Result<Self, ServerError> {
        let parsed = Self::parts(url);
        parsed.ok_or_else(|| ServerError::Variable {
            variable: URL,
            problem: "no address like `redis://127.0.0.1:6379` or `rediss://user:password@host`"
                .to_owned(),
        })
    }

    fn parts(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let tls = match scheme {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return None,
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, database) = rest.split_at(end);
        let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match login.split_once(':') {
            None => (decode(login)?, None),
            Some((user, password)) => (decode(user)?, Some(decode(password)?)),
        };
        // An IPv6 address has colons of its own, in brackets.
        let (host, port) = match host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            None => (host, PORT),
            Some((host, port)) => (host, port.parse().ok()?),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let (host, database) = (host.to_owned(), database.to_owned());
        (!host.is_empty()).then_some(Self { tls, user, password, host, port, database })
    }

    /// The same server, reached at another address.
    pub(super) fn at(&self, socket: SocketAddr) -> Self {
        Self { host: socket.ip().to_string(), port: socket.port(), ..self.clone() }
    }

    /// The first socket address of the host.
    pub(super) async fn resolve(&self) -> Result<SocketAddr, ServerError> {
        let found = tokio::net::lookup_host((self.host.clone(), self.port)).await;
        let found = found.map(|mut all| all.next());
        let problem = match found {
            Ok(Some(address)) => return Ok(address),
            Ok(None) => "it has no address".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(ServerError::Failed {
            server: NAME,
            problem: format!("host `{}`: {problem}", self.host),
        })
    }

    pub(super) fn url(&self) -> String {
        let Self { tls, user, password, host, port, database } = self;
        let scheme = if *tls { "rediss" } else { "redis" };
        let login = match password {
            None if user.is_empty() => String::new(),
            None => format!("{}@", encode(user)),
            Some(password) => format!("{}:{}@", encode(user), encode(password)),
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        format!("{scheme}://{login}{host}:{port}{database}")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(|_| "***".to_owned());
        f.write_str(&Self { password, ..self.clone() }.url().replace("%2A", "*"))
    }
}

fn encode(text: &str) -> String {
    use std::fmt::Write;

    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // A string takes whatever is written to it.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_written() {
        for url in [
            "redis://127.0.0.1:6379",
            "rediss://user:p%40ss%3A@host:1/2",
            "redis://:secret@[::1]:7",
            "redis://host:5?protocol=3",
        ] {
            assert_eq!(Address::parse(url).expect("an address").url(), url);
        }
        let short = Address::parse("redis://host").expect("an address");
        assert_eq!((short.port, short.password), (6379, None));
        let full = Address::parse("rediss://user:p%40ss%3A@host:1/2").expect("an address");
        assert_eq!((full.tls, full.password.as_deref()), (true, Some("p@ss:")));
    }

    #[test]
    fn a_password_is_never_shown() {
        let address = Address::parse("redis://me:secret@host").expect("an address");
        assert_eq!(format!("{address:?}"), "redis://me:***@host:6379");
        for wrong in ["secret@host", "redis-cluster://:secret@host", "redis://:secret@host:port"] {
            let error = Address::parse(wrong).expect_err("no address");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
