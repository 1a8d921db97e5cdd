//! The options of an entry, on their way from a file to its provider.

mod support;

use std::time::Duration;

use locking_core::{ConfigurationError, ProviderConfig, ProviderRegistration};
use serde_json::json;
use support::registered::{MEMORY, Options, built, mistake, start, start_with};

/// A variable that cargo always sets for a test.
const VARIABLE: &str = "CARGO_PKG_NAME";

fn value() -> String {
    let value = std::env::var(VARIABLE).expect("cargo sets it for a test");
    assert_eq!(value, "locking-core");
    value
}

fn redis() -> ProviderConfig {
    ProviderConfig::new("locking-redis")
}

/// The options as the provider read them.
async fn read(entry: ProviderConfig) -> Options {
    start([entry]).await.expect("valid");
    built().pop().expect("it was built").1
}

/// The path and the text of the error for the second of two entries.
async fn refused(entry: ProviderConfig) -> (String, String) {
    let first = ProviderConfig::new("locking-memory").as_default();
    let mistake = mistake(start([first, entry]).await);
    let text = mistake.to_string();
    match mistake {
        ConfigurationError::Option { path, .. }
        | ConfigurationError::MissingVariable { path, .. }
        | ConfigurationError::MalformedReference { path, .. } => (path, text),
        other => panic!("expected a mistake in an option, not {other:?}"),
    }
}

#[tokio::test]
async fn options_arrive_as_they_were_written() {
    let entry = redis()
        .with_option("url", "redis://localhost")
        .with_option("pool", 4)
        .with_option("names", json!(["a", "b"]))
        .with_option("tls", json!({ "enabled": true, "ca": "ca.pem" }))
        .with_option("wait_locking_timeout", "250ms");
    let options = read(entry).await;
    assert_eq!(options.url.as_deref(), Some("redis://localhost"));
    assert_eq!(options.pool, Some(4));
    assert_eq!(options.names, ["a", "b"]);
    assert!(options.tls.enabled && options.tls.ca.as_deref() == Some("ca.pem"));
    let wait = options.wait_locking_timeout.expect("it was given");
    assert_eq!(wait.0, Duration::from_millis(250));
}

#[tokio::test]
async fn an_entry_without_options_has_the_defaults() {
    assert_eq!(read(redis()).await, Options::default());
}

#[tokio::test]
async fn an_unknown_option_is_refused_with_its_path() {
    let (path, text) = refused(redis().with_option("foo", 1)).await;
    assert_eq!(path, "providers[1].options.foo");
    assert!(text.contains("`providers[1].options.foo`") && text.contains("unknown"), "{text}");
}

#[tokio::test]
async fn an_unknown_option_below_another_is_refused_with_its_path() {
    let (path, _) = refused(redis().with_option("tls", json!({ "foo": 1 }))).await;
    assert_eq!(path, "providers[1].options.tls.foo");
}

#[tokio::test]
async fn an_option_whose_value_the_provider_refuses_is_told_with_its_path() {
    let picky = ProviderRegistration::new("picky", |_, options| {
        Box::pin(async move {
            let Options { pool, .. } = options.parse()?;
            let place = if pool == Some(0) { "pool" } else { "tls.ca" };
            Err(ConfigurationError::option(place, "it won't do").into())
        })
    });
    for (size, place) in [(0, "pool"), (1, "tls.ca")] {
        let first = ProviderConfig::new("locking-memory").as_default();
        let entry = ProviderConfig::new("picky").with_option("pool", size);
        let text = mistake(start_with([MEMORY, picky], [first, entry]).await).to_string();
        assert_eq!(text, format!("invalid option `providers[1].options.{place}`: it won't do"));
    }
}

#[tokio::test]
async fn an_option_of_the_wrong_type_is_refused_with_its_path() {
    let (path, text) = refused(redis().with_option("pool", "many")).await;
    assert_eq!(path, "providers[1].options.pool");
    // Its value is not told: any option can be a secret.
    assert!(!text.contains("many") && text.contains("u32"), "{text}");
    let (path, _) = refused(redis().with_option("names", json!(["a", 2]))).await;
    assert_eq!(path, "providers[1].options.names[1]");
    let (path, _) = refused(redis().with_option("wait_locking_timeout", "soon")).await;
    assert_eq!(path, "providers[1].options.wait_locking_timeout");
}

#[tokio::test]
async fn a_wrong_option_never_quotes_what_came_from_the_environment() {
    let secret = value();
    for option in ["pool", "wait_locking_timeout", "tls", "names"] {
        for text in [format!("${{{VARIABLE}}}"), format!("prefix ${{{VARIABLE}}} suffix")] {
            let (path, text) = refused(redis().with_option(option, text)).await;
            assert_eq!(path, format!("providers[1].options.{option}"));
            assert!(!text.contains(&secret), "{text}");
        }
    }
    let nested = json!({ "enabled": format!("${{{VARIABLE}}}") });
    let (path, text) = refused(redis().with_option("tls", nested)).await;
    assert_eq!(path, "providers[1].options.tls.enabled");
    assert!(!text.contains(&secret), "{text}");
}

#[tokio::test]
async fn a_wrong_option_never_quotes_an_address() {
    for secret in ["redis://:hunter2@host", "redis://:\"hunter2\"\\@host", "\"://hunter2\""] {
        let (_, text) = refused(redis().with_option("pool", secret)).await;
        assert!(!text.contains("hunter2"), "{text}");
        let (_, text) = refused(redis().with_option("wait_locking_timeout", secret)).await;
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn the_error_of_one_option_quotes_no_secret_of_another() {
    let entry = redis().with_option("url", "redis://:hunter2@host").with_option("pool", "many");
    let (path, text) = refused(entry).await;
    assert_eq!(path, "providers[1].options.pool");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_secret_that_has_the_text_of_another_option_in_it_is_not_quoted_either() {
    let entry = redis().with_option("names", json!(["host"]));
    let entry = entry.with_option("pool", "redis://:hunter2@host/0");
    let (path, text) = refused(entry).await;
    assert_eq!(path, "providers[1].options.pool");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_variable_is_filled_in_wherever_a_text_stands() {
    let reference = format!("${{{VARIABLE}}}");
    let entry = redis()
        .with_option("url", format!("redis://{reference}/0"))
        .with_option("names", json!(["a", reference.clone()]))
        .with_option("tls", json!({ "ca": reference }));
    let options = read(entry).await;
    assert_eq!(options.url, Some(format!("redis://{}/0", value())));
    assert_eq!(options.names, ["a".to_owned(), value()]);
    assert_eq!(options.tls.ca, Some(value()));
}

#[tokio::test]
async fn a_default_stands_in_for_a_variable_that_is_not_set() {
    let entry = redis()
        .with_option("url", "${LOCKING_TEST_NOT_SET:-redis://localhost}")
        .with_option("wait_locking_timeout", "${LOCKING_TEST_NOT_SET:-2.5}");
    let options = read(entry).await;
    assert_eq!(options.url.as_deref(), Some("redis://localhost"));
    let wait = options.wait_locking_timeout.expect("it has a default");
    assert_eq!(wait.0, Duration::from_millis(2500));
}

#[tokio::test]
async fn a_variable_that_is_set_wins_over_its_default() {
    let options = read(redis().with_option("url", format!("${{{VARIABLE}:-other}}"))).await;
    assert_eq!(options.url, Some(value()));
}

#[tokio::test]
async fn two_dollars_keep_a_reference_from_being_filled() {
    let options = read(redis().with_option("url", format!("$${{{VARIABLE}}}"))).await;
    assert_eq!(options.url, Some(format!("${{{VARIABLE}}}")));
}

#[tokio::test]
async fn a_variable_that_is_not_set_is_named_with_the_option() {
    let entry = redis().with_option("tls", json!({ "ca": "${LOCKING_TEST_NOT_SET}" }));
    let (path, text) = refused(entry).await;
    assert_eq!(path, "providers[1].options.tls.ca");
    assert!(text.contains("`LOCKING_TEST_NOT_SET`"), "{text}");
}

#[tokio::test]
async fn a_reference_without_an_end_is_refused_with_what_to_write() {
    let (path, text) = refused(redis().with_option("url", "${CARGO_PKG_NAME")).await;
    assert_eq!(path, "providers[1].options.url");
    assert!(text.contains("write `${NAME}`"), "{text}");
}
