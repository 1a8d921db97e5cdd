use std::path::Path;

use locking_core::ProviderId;
use locking_testkit::servers::{Postgres, PostgresSetup};
use tokio_postgres::SimpleQueryMessage;

use crate::connect::Connector;
use crate::failure::Failure;
use crate::options::{PostgresOptions, TlsMode};

struct Server {
    postgres: Postgres,
    /// The server's certificate, which is its own authority.
    authority: tempfile::NamedTempFile,
    /// Another one.
    stranger: tempfile::NamedTempFile,
}

/// A server with a certificate for 127.0.0.1, and not for `localhost`.
async fn server() -> Server {
    let made = certificate();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let postgres = PostgresSetup::new().tls(&certificate, &key).start().await.expect("a server");
    let stranger = self::certificate().cert.pem();
    Server { postgres, authority: file(&certificate), stranger: file(&stranger) }
}

fn certificate() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate")
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    file
}

/// Whether the session is encrypted.
async fn is_encrypted(options: &PostgresOptions) -> Result<bool, Failure> {
    let connector = Connector::new(options).expect("valid");
    let (client, connection) = connector.session().await?;
    let asked = async move {
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        client.simple_query(sql).await.expect("answered")
    };
    let answer = connection.during(asked).await;
    Ok(answer.iter().any(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0) == Some("t"),
        _ => false,
    }))
}

impl Server {
    fn options(&self, host: &str, mode: TlsMode, ca_file: Option<&Path>) -> PostgresOptions {
        let port = self.postgres.address().port();
        let url = format!("postgres://postgres@{host}:{port}/postgres");
        let mut options = PostgresOptions::new(url).expect("an address");
        options.tls.mode = Some(mode);
        options.tls.ca_file = ca_file.map(Path::to_owned);
        options
    }

    async fn accepts(&self, host: &str, mode: TlsMode, ca_file: Option<&Path>) -> bool {
        match is_encrypted(&self.options(host, mode, ca_file)).await {
            Ok(encrypted) => encrypted,
            Err(failure) => {
                let failure = failure.into_error(&ProviderId::new("p").expect("an id"));
                assert!(matches!(failure, locking_core::Error::Unavailable { .. }), "{failure:?}");
                false
            }
        }
    }
}

#[tokio::test]
async fn each_mode_asks_of_a_certificate_what_libpq_asks() {
    let server = server().await;
    let (authority, stranger) = (Some(server.authority.path()), Some(server.stranger.path()));
    let (right, wrong) = ("127.0.0.1", "localhost");
    for (host, mode, ca_file, accepted) in [
        (right, TlsMode::VerifyFull, authority, true),
        (wrong, TlsMode::VerifyFull, authority, false),
        (right, TlsMode::VerifyFull, stranger, false),
        (right, TlsMode::VerifyFull, None, false),
        (wrong, TlsMode::VerifyCa, authority, true),
        (wrong, TlsMode::VerifyCa, stranger, false),
        (wrong, TlsMode::VerifyCa, None, false),
        (wrong, TlsMode::Require, None, true),
        (wrong, TlsMode::Require, authority, true),
        (wrong, TlsMode::Require, stranger, false),
        (wrong, TlsMode::Prefer, None, true),
        // Connected, and not encrypted.
        (right, TlsMode::Disable, None, false),
    ] {
        let found = server.accepts(host, mode, ca_file).await;
        assert_eq!(found, accepted, "{host} {mode:?} {ca_file:?}");
    }
    let plain = is_encrypted(&server.options("127.0.0.1", TlsMode::Disable, None)).await;
    assert!(!plain.expect("connected"));
}

#[tokio::test]
async fn what_an_address_says_is_done() {
    let server = server().await;
    let url = server.postgres.tls_url().expect("it was set up");
    assert!(url.contains("sslmode=require"), "{url}");
    assert!(is_encrypted(&PostgresOptions::new(&url).expect("valid")).await.expect("connected"));
    let path = |file: &tempfile::NamedTempFile| file.path().to_str().expect("a path").to_owned();
    let url = url.replace("sslmode=require", "sslmode=verify-full&sslrootcert=");
    let believed = PostgresOptions::new(format!("{url}{}", path(&server.authority)));
    assert!(is_encrypted(&believed.expect("valid")).await.expect("connected"));
    let refused = PostgresOptions::new(format!("{url}{}", path(&server.stranger)));
    is_encrypted(&refused.expect("valid")).await.expect_err("not believed");
}

#[tokio::test]
async fn pools_and_cancelling_are_encrypted_too() {
    let server = server().await;
    let authority = Some(server.authority.path());
    let options = server.options("127.0.0.1", TlsMode::VerifyFull, authority);
    let connector = Connector::new(&options).expect("valid");
    let client = connector.pool().get().await.expect("connected");
    let (cancelled, asked) = tokio::join!(client.batch_execute("SELECT pg_sleep(60)"), async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        connector.cancel(&client).await
    });
    asked.expect("asked");
    cancelled.expect_err("cancelled");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_unless_it_may_be() {
    let postgres = PostgresSetup::new().start().await.expect("a server");
    let mut options = PostgresOptions::new(postgres.url()).expect("an address");
    options.tls.mode = Some(TlsMode::Require);
    is_encrypted(&options).await.expect_err("it has no TLS");
    options.tls.mode = None;
    assert!(!is_encrypted(&options).await.expect("connected"));
}

#[test]
fn files_that_are_no_certificates_are_named_by_their_option() {
    let empty = file("");
    let certificate = file(&certificate().cert.pem());
    let refused = |set: &dyn Fn(&mut PostgresOptions)| {
        let mut options = PostgresOptions::new("postgres://x/?sslmode=verify-full").expect("valid");
        options.tls.ca_file = Some(certificate.path().to_owned());
        set(&mut options);
        Connector::new(&options).map(drop).expect_err("refused").to_string()
    };
    let missing = refused(&|options| options.tls.ca_file = Some("/nowhere/ca.pem".into()));
    assert!(missing.contains("`tls.ca_file`"), "{missing}");
    let none = refused(&|options| options.tls.ca_file = Some(empty.path().to_owned()));
    assert!(none.contains("`tls.ca_file`"), "{none}");
    let no_key = refused(&|options| {
        options.tls.certificate_file = Some(certificate.path().to_owned());
        options.tls.key_file = Some(empty.path().to_owned());
    });
    assert!(no_key.contains("`tls.key_file`"), "{no_key}");
}
