//! TLS: whose certificates are believed.
#![cfg(feature = "tls")]

use std::path::Path;

use locking_core::{Error, LockingConfig, LockingModule, ProviderConfig};
use locking_redis::IDENTIFIER;
use locking_testkit::servers::{Redis, RedisSetup};

struct Server {
    redis: Redis,
    /// The server's certificate, which is its own authority.
    authority: tempfile::NamedTempFile,
}

async fn server() -> Server {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let certificate = made.cert.pem();
    let key = made.signing_key.serialize_pem();
    let authority = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(authority.path(), &certificate).expect("written");
    let redis = RedisSetup::new().tls(&certificate, &key).start().await.expect("a server with TLS");
    Server { redis, authority }
}

async fn connect(url: String, ca_file: Option<&Path>) -> locking_core::Result<LockingModule> {
    let ca_file = ca_file.map(|file| file.to_str().expect("a path"));
    let options = serde_json::json!({ "tls": { "ca_file": ca_file } });
    let entry = ProviderConfig::new(IDENTIFIER)
        .with_option("redis_url", url)
        .with_option("redis_options", options);
    LockingModule::new(LockingConfig::new().with_provider(entry)).await
}

#[tokio::test]
async fn a_server_whose_authority_is_named_is_believed() {
    let server = server().await;
    let url = server.redis.tls_url().expect("it was set up");
    let module = connect(url, Some(server.authority.path())).await.expect("believed");
    assert_eq!(module.execute("k", |_| async { 1 }).await.expect("free"), 1);
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_is_refused() {
    let server = server().await;
    let other =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    std::fs::write(server.authority.path(), other.cert.pem()).expect("written");
    let url = server.redis.tls_url().expect("it was set up");
    let refused = connect(url, Some(server.authority.path())).await.expect_err("not believed");
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named_by_its_option() {
    let missing = Path::new("/nowhere/ca.pem");
    let refused = connect("rediss://127.0.0.1:1".to_owned(), Some(missing)).await;
    let refused = refused.expect_err("no such file").to_string();
    assert!(refused.contains("redis_options.tls.ca_file"), "{refused}");
}
