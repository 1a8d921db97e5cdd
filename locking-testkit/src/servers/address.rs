use std::fmt;
use std::net::SocketAddr;

use super::error::ServerError;
use super::kind::Kind;

/// A server's address in its parts. `Debug` shows no secret.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) kind: &'static Kind,
    pub(super) scheme: &'static str,
    pub(super) user: String,
    pub(super) password: Option<String>,
    pub(super) host: String,
    pub(super) port: u16,
    /// Behind the port, with its slash.
    pub(super) path: String,
    /// Behind the question mark.
    pub(super) query: String,
}

impl Address {
    /// That of a server on this machine.
    pub(super) fn local(kind: &'static Kind, socket: SocketAddr) -> Self {
        Self {
            kind,
            scheme: kind.schemes[0].1,
            user: String::new(),
            password: None,
            host: socket.ip().to_string(),
            port: socket.port(),
            path: String::new(),
            query: String::new(),
        }
    }

    /// That of the variable.
    pub(super) fn parse(kind: &'static Kind, url: &str) -> Result<Self, ServerError> {
        Self::parts(kind, url).ok_or_else(|| ServerError::Variable {
            variable: kind.variable,
            problem: format!("no address like {}", kind.example),
        })
    }

    fn parts(kind: &'static Kind, url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let &(_, scheme) = kind.schemes.iter().find(|(known, _)| *known == scheme)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match login.split_once(':') {
            None => (decode(login)?, None),
            Some((user, password)) => (decode(user)?, Some(decode(password)?)),
        };
        // An IPv6 address has colons of its own, in brackets.
        let (host, port) = match host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            None => (host, kind.port),
            Some((host, port)) => (host, port.parse().ok()?),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let (path, query) = (path.to_owned(), query.to_owned());
        let address = Self { kind, scheme, user, password, host, port, path, query };
        (!address.host.is_empty()).then_some(address)
    }

    /// The name of the database, where the address has one.
    pub(super) fn database(&self) -> Option<String> {
        decode(self.path.strip_prefix('/')?).filter(|name| !name.is_empty())
    }

    /// Another database of the same server.
    pub(super) fn with_database(&self, name: &str) -> Self {
        Self { path: format!("/{}", encode(name)), ..self.clone() }
    }

    /// A value behind the question mark.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
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
            server: self.kind.name,
            problem: format!("host `{}`: {problem}", self.host),
        })
    }

    pub(super) fn url(&self) -> String {
        let Self { kind: _, scheme, user, password, host, port, path, query } = self;
        let login = match password {
            None if user.is_empty() => String::new(),
            None => format!("{}@", encode(user)),
            Some(password) => format!("{}:{}@", encode(user), encode(password)),
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{scheme}://{login}{host}:{port}{path}{mark}{query}")
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
    use crate::servers::{postgres, redis};

    fn redis(url: &str) -> Result<Address, ServerError> {
        Address::parse(&redis::KIND, url)
    }

    #[test]
    fn an_address_is_read_and_written() {
        for url in [
            "redis://127.0.0.1:6379",
            "rediss://user:p%40ss%3A@host:1/2",
            "redis://:secret@[::1]:7",
            "redis://host:5?protocol=3",
        ] {
            assert_eq!(redis(url).expect("an address").url(), url);
        }
        let short = redis("redis://host").expect("an address");
        assert_eq!((short.port, short.password), (6379, None));
        let full = redis("valkeys://user:p%40ss%3A@host:1/2").expect("an address");
        assert_eq!((full.scheme, full.password.as_deref()), ("rediss", Some("p@ss:")));
    }

    #[test]
    fn databases_and_parameters_are_found() {
        let url = "postgresql://me@host/my%20data?connect_timeout=1&sslmode=require";
        let address = Address::parse(&postgres::KIND, url).expect("an address");
        assert_eq!(address.database().as_deref(), Some("my data"));
        assert_eq!(address.parameter("sslmode"), Some("require"));
        assert_eq!(address.parameter("ssl"), None);
        let other = address.with_database("a/b").url();
        assert_eq!(other, "postgres://me@host:5432/a%2Fb?connect_timeout=1&sslmode=require");
    }

    #[test]
    fn a_password_is_never_shown() {
        let address = redis("redis://me:secret@host").expect("an address");
        assert_eq!(format!("{address:?}"), "redis://me:***@host:6379");
        for wrong in ["secret@host", "redis-cluster://:secret@host", "redis://:secret@host:port"] {
            let error = redis(wrong).expect_err("no address");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
