use tokio_postgres::Config;
use tokio_postgres::config::{Host, TargetSessionAttrs};

use super::tls::{IN_URL, TlsOptions};

/// Where the server is, who the client is there, and what else a URL says. It holds a secret.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) config: Config,
}

/// What is wrong with an address: nothing of it is quoted but names of parameters.
pub(super) type Problem = String;

const FORM: &str = "it isn't the address of a PostgreSQL server: write \
`postgres://[user[:password]@]host[:port][/database]`, with what is special in a password \
percent-encoded, or `host=… port=… user=… password=… dbname=…`, with what is special in quotes";

const NO_HOST: &str = "it names no host: `postgres://user@localhost/database`, or the folder of a \
socket, as in `postgres:///database?host=/var/run/postgresql`";

impl Address {
    /// That of a URL or a key/value string of libpq's, and what it says of TLS.
    pub(super) fn parse(text: &str) -> Result<(Self, TlsOptions), Problem> {
        if text.trim().is_empty() {
            return Err("it is empty".to_owned());
        }
        let mut parameters = match text.split_once("://") {
            Some(("postgres" | "postgresql", _)) => of_url(text)?,
            // A password may have it too.
            Some((scheme, _)) if !scheme.contains('=') => {
                return Err("it has to begin with `postgres://` or `postgresql://`".to_owned());
            }
            _ => of_pairs(text).ok_or(FORM)?,
        };
        let mut tls = TlsOptions::default();
        // The mode first: what another one means depends on it.
        parameters.tls.sort_by_key(|(name, _)| IN_URL.iter().position(|(known, _)| known == name));
        for (name, value) in &parameters.tls {
            tls.set(name, value)?;
        }
        let config = parameters.driver.parse().map_err(|_| FORM)?;
        Ok((Self::new(config)?, tls))
    }

    /// One that the driver understands.
    pub(super) fn new(mut config: Config) -> Result<Self, Problem> {
        let (hosts, addresses) = (config.get_hosts().len(), config.get_hostaddrs().to_vec());
        if hosts == 0 {
            // The driver takes the name for the handshake of TLS from the host.
            for address in &addresses {
                config.host(address.to_string());
            }
        }
        let hosts = config.get_hosts().len();
        let nameless = |host: &Host| matches!(host, Host::Tcp(name) if name.is_empty());
        if hosts == 0 || config.get_hosts().iter().any(nameless) {
            return Err(NO_HOST.to_owned());
        }
        if !addresses.is_empty() && addresses.len() != hosts {
            return Err("it has as many `hostaddr` as hosts, or none".to_owned());
        }
        if config.get_ports().len() > 1 && config.get_ports().len() != hosts {
            return Err("it has as many ports as hosts, or one for all".to_owned());
        }
        if config.get_target_session_attrs() == TargetSessionAttrs::ReadOnly {
            return Err("locks are written: `target_session_attrs` can't be `read-only`".to_owned());
        }
        if hosts > 1 {
            // One of them is the primary, after a failover another one.
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Ok(Self { config })
    }
}

/// An address, taken apart into what the driver understands and what it doesn't.
struct Parameters {
    driver: String,
    /// What libpq calls it, and the value.
    tls: Vec<(&'static str, String)>,
}

fn of_url(url: &str) -> Result<Parameters, Problem> {
    // To the driver, whatever comes before the first `@` is the user and the password.
    let host = url.find('@').unwrap_or(0);
    let Some(query) = url[host..].find('?').map(|at| host + at) else {
        return Ok(Parameters { driver: url.to_owned(), tls: Vec::new() });
    };
    let (base, query) = (&url[..query], &url[query + 1..]);
    let alone = |pair: &str| format!("postgres:///?{pair}");
    let (mut driver, mut tls) = (Vec::new(), Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let Some(parameter) = tls_parameter(name) {
            tls.push((parameter, value_of(&alone(&format!("{VALUE}={value}"))).ok_or(FORM)?));
            continue;
        }
        if alone(pair).parse::<Config>().is_err() {
            // With an `@` behind, it may be part of a password.
            let shown = !query.contains('@') && name.bytes().all(is_of_name);
            let problem = format!("its parameter `{name}` isn't known, or can't have this value");
            return Err(if shown { problem } else { FORM.to_owned() });
        }
        driver.push(pair);
    }
    Ok(Parameters { driver: format!("{base}?{}", driver.join("&")), tls })
}

fn of_pairs(mut text: &str) -> Option<Parameters> {
    let (mut driver, mut tls) = (Vec::new(), Vec::new());
    loop {
        text = text.trim_start();
        if text.is_empty() {
            return Some(Parameters { driver: driver.join(" "), tls });
        }
        let (name, rest) = text.split_once('=')?;
        let (name, rest) = (name.trim_end(), rest.trim_start());
        let (value, rest) = rest.split_at(end_of_value(rest)?);
        match tls_parameter(name) {
            Some(parameter) => tls.push((parameter, value_of(&format!("{VALUE}={value}"))?)),
            None => driver.push(format!("{name}={value}")),
        }
        text = rest;
    }
}

/// Where a value ends, in quotes or not: a backslash goes before any character.
fn end_of_value(text: &str) -> Option<usize> {
    let quoted = text.starts_with('\'');
    let mut characters = text.char_indices().skip(usize::from(quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => {
                characters.next();
            }
            '\'' if quoted => return Some(at + 1),
            it if it.is_whitespace() && !quoted => return Some(at),
            _ => {}
        }
    }
    (!quoted).then_some(text.len())
}

fn tls_parameter(name: &str) -> Option<&'static str> {
    IN_URL.iter().map(|(known, _)| *known).find(|known| *known == name)
}

/// A parameter that has any text.
const VALUE: &str = "application_name";

/// The driver knows how a value is written.
fn value_of(text: &str) -> Option<String> {
    text.parse::<Config>().ok()?.get_application_name().map(str::to_owned)
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::TlsMode;
    use super::*;

    fn parsed(text: &str) -> (Config, TlsOptions) {
        let (address, tls) = Address::parse(text).expect("valid");
        (address.config, tls)
    }

    fn problem(text: &str) -> String {
        Address::parse(text).map(drop).expect_err("not valid")
    }

    #[test]
    fn both_forms_say_the_same() {
        let url = "postgresql://me:p%20w@db.test:5433/shop?application_name=till";
        let pairs =
            r"host=db.test port = 5433 user=me password='p w' dbname=shop application_name=till";
        assert!(parsed(url).0 == parsed(pairs).0);
    }

    #[test]
    fn what_libpq_says_of_tls_is_understood_in_both_forms() {
        let url = "postgres://db.test/shop?sslmode=verify-full&connect_timeout=7\
                   &sslrootcert=%2Fetc%2Fmy%20ca.pem&sslcert=c.pem&sslkey=k.pem";
        let pairs = r"sslrootcert = '/etc/my ca.pem' host=db.test dbname=shop connect_timeout=7 sslkey=k.pem sslcert=c.pem sslmode=verify-full";
        for text in [url, pairs] {
            let (config, tls) = parsed(text);
            assert_eq!(config.get_dbname(), Some("shop"));
            assert_eq!(config.get_connect_timeout().copied(), Some(Duration::from_secs(7)));
            assert_eq!(tls.mode, Some(TlsMode::VerifyFull));
            assert_eq!(tls.ca_file.as_deref(), Some("/etc/my ca.pem".as_ref()));
            assert_eq!(tls.certificate_file.as_deref(), Some("c.pem".as_ref()));
            assert_eq!(tls.key_file.as_deref(), Some("k.pem".as_ref()));
        }
    }

    #[test]
    fn the_authorities_of_the_system_are_those_of_no_file() {
        let (_, tls) = parsed("postgres://x/?sslrootcert=system");
        assert_eq!((tls.mode, tls.ca_file), (Some(TlsMode::VerifyFull), None));
        let weak = problem("postgres://x/?sslrootcert=system&sslmode=require");
        assert!(weak.contains("verify-full"), "{weak}");
    }

    #[test]
    fn quotes_and_backslashes_hide_what_separates() {
        let (config, tls) = parsed(r"host=x password='it\'s sslmode=disable' user=a\ b");
        assert_eq!(config.get_password(), Some(b"it's sslmode=disable".as_slice()));
        assert_eq!((config.get_user(), tls.mode), (Some("a b"), None));
    }

    #[test]
    fn a_question_mark_in_a_password_begins_no_parameters() {
        let (config, tls) = parsed("postgres://me:what?sslmode=no@db.test/shop");
        assert_eq!(config.get_password(), Some(b"what?sslmode=no".as_slice()));
        assert_eq!((config.get_dbname(), tls.mode), (Some("shop"), None));
    }

    #[test]
    fn several_hosts_are_tried_for_the_one_that_writes() {
        let (config, _) = parsed("postgres://one,two/shop");
        assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!(parsed("postgres://one/").0.get_target_session_attrs(), TargetSessionAttrs::Any);
        assert!(problem("postgres://one/?target_session_attrs=read-only").contains("read-only"));
    }

    #[test]
    fn an_address_without_a_name_has_the_address_for_a_name() {
        let (config, _) = parsed("hostaddr=127.0.0.1 user=me");
        assert_eq!(config.get_hosts(), [Host::Tcp("127.0.0.1".to_owned())]);
    }

    #[test]
    fn an_address_without_a_host_is_refused() {
        for text in ["postgres:///shop", "postgres://", "user=me", "postgres://one,,two/"] {
            let problem = problem(text);
            assert!(problem.contains("host"), "{problem}");
        }
    }

    #[test]
    fn hosts_ports_and_addresses_have_to_match() {
        assert!(problem("host=a,b port=1,2,3").contains("ports"));
        assert!(problem("host=a,b hostaddr=127.0.0.1").contains("hostaddr"));
    }

    #[test]
    fn a_parameter_that_is_not_known_is_named() {
        assert!(problem("postgres://u:secret@x/?schema=shop").contains("`schema`"));
        assert!(problem("postgres://u:secret@x/?sslmode=allow").contains("sslmode"));
        assert!(problem("postgres://u:secret@x/?port=99999").contains("`port`"));
    }

    #[test]
    fn nothing_that_may_be_a_secret_is_quoted() {
        for text in [
            "secret",
            "http://u:secret@x",
            "postgres://u:secret@x:port/",
            "postgres://u:s@?secret=1@x/",
            "postgres://%ffsecret:p@x/",
            "host=x password=very secret",
            "host=x password=very secret=1",
            "host=x password='secret",
        ] {
            let problem = problem(text);
            assert!(!problem.contains("secret") && problem.len() > 20, "{problem}");
        }
    }
}
