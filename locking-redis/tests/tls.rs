//! TLS: whose certificates are believed, and who the client says it is.
#![cfg(feature = "tls")]

use std::path::Path;

use locking_core::{Error, LockingConfig, LockingModule, ProviderConfig};
use locking_redis::IDENTIFIER;
use locking_testkit::servers::{Redis, RedisSetup};
use serde_json::json;
use tempfile::NamedTempFile;

struct Server {
    redis: Redis,
    /// The server's certificate, which is its own authority.
    authority: NamedTempFile,
}

/// A client's certificate, which is its own authority.
struct Client {
    certificate: NamedTempFile,
    key: NamedTempFile,
}

async fn server() -> Server {
    server_that(|setup| setup).await
}

/// A server that lets in this client alone.
async fn server_for(client: &Client) -> Server {
    let authority = std::fs::read(client.certificate.path()).expect("written");
    let demanding = |setup: RedisSetup| {
        let setup = setup.file("clients.crt", authority);
        setup.argument("tls-ca-cert-file", "clients.crt").argument("tls-auth-clients", "yes")
    };
    server_that(demanding).await
}

async fn server_that(is_set_up: impl FnOnce(RedisSetup) -> RedisSetup) -> Server {
    let made = certificate();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let setup = is_set_up(RedisSetup::new().tls(&certificate, &key));
    let redis = setup.start().await.expect("a server with TLS");
    Server { redis, authority: file(&certificate) }
}

fn certificate() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate")
}

fn client() -> Client {
    let made = certificate();
    Client { certificate: file(&made.cert.pem()), key: file(&made.signing_key.serialize_pem()) }
}

fn file(text: &str) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    file
}

impl Server {
    async fn connect(&self, ca_file: &Path) -> locking_core::Result<LockingModule> {
        connect(self.url(), Some(ca_file), [None; 2]).await
    }

    async fn connect_as(&self, client: Option<&Client>) -> locking_core::Result<LockingModule> {
        let files = client.map(|it| [Some(it.certificate.path()), Some(it.key.path())]);
        connect(self.url(), Some(self.authority.path()), files.unwrap_or_default()).await
    }

    fn url(&self) -> String {
        self.redis.tls_url().expect("it was set up")
    }
}

/// Connects with the certificate and the key of a client.
async fn connect(
    url: String,
    ca_file: Option<&Path>,
    [certificate_file, key_file]: [Option<&Path>; 2],
) -> locking_core::Result<LockingModule> {
    let tls = json!({
        "ca_file": ca_file, "certificate_file": certificate_file, "key_file": key_file
    });
    let entry = ProviderConfig::new(IDENTIFIER)
        .with_option("redis_url", url)
        .with_option("redis_options", json!({ "tls": tls }));
    LockingModule::new(LockingConfig::new().with_provider(entry)).await
}

#[tokio::test]
async fn a_server_whose_authority_is_named_is_believed() {
    let server = server().await;
    let module = server.connect(server.authority.path()).await.expect("believed");
    assert_eq!(module.execute("k", |_| async { 1 }).await.expect("free"), 1);
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_is_refused() {
    let server = server().await;
    let other = file(&certificate().cert.pem());
    let refused = server.connect(other.path()).await.expect_err("not believed");
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_client_with_the_certificate_that_a_server_demands_is_let_in() {
    let client = client();
    let server = server_for(&client).await;
    let module = server.connect_as(Some(&client)).await.expect("let in");
    assert_eq!(module.execute("k", |_| async { 1 }).await.expect("free"), 1);
}

#[tokio::test]
async fn a_client_without_the_certificate_that_a_server_demands_is_refused_and_told_why() {
    let server = server_for(&client()).await;
    for (who, why) in [(None, "CertificateRequired"), (Some(client()), "UnknownCA")] {
        let refused = server.connect_as(who.as_ref()).await.expect_err("not let in");
        let Error::Unavailable { source, .. } = refused else { panic!("{refused:?}") };
        assert!(source.to_string().contains(why), "{source}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named_by_its_option() {
    let missing = Path::new("/nowhere/ca.pem");
    let refused = connect("rediss://127.0.0.1:1".to_owned(), Some(missing), [None; 2]).await;
    let refused = refused.expect_err("no such file").to_string();
    assert!(refused.contains("redis_options.tls.ca_file"), "{refused}");
}

#[tokio::test]
async fn what_is_wrong_with_a_clients_certificate_is_named_by_its_option() {
    let (client, other) = (client(), client());
    let (certificate, key) = (Some(client.certificate.path()), Some(client.key.path()));
    let missing = Some(Path::new("/nowhere/client.pem"));
    for (files, option) in [
        ([certificate, None], "key_file"),
        ([None, key], "certificate_file"),
        ([certificate, missing], "key_file"),
        ([missing, key], "certificate_file"),
        ([certificate, certificate], "key_file"),
        ([key, key], "certificate_file"),
        ([certificate, Some(other.key.path())], "certificate_file"),
    ] {
        let refused = connect("rediss://127.0.0.1:1".to_owned(), certificate, files).await;
        let refused = refused.expect_err("it can't be used").to_string();
        assert!(
            refused.contains(&format!("`providers[0].options.redis_options.tls.{option}`")),
            "{files:?}: {refused}"
        );
    }
}
