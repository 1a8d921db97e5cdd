//! One configuration in three formats, and what it shows of itself.

mod support;

use locking_core::{LockingConfig, ProviderConfig};
use serde_json::{Map, Value, json};
use support::registered::{built, start};

const TOML: &str = r#"
[[providers]]
resolve = "locking-redis"
id = "main"
is_default = true

[providers.options]
url = "redis://:hunter2@host"
pool = 4
names = ["a", "b"]
tls = { enabled = true }
wait_locking_timeout = 2.5

[[providers]]
resolve = "locking-memory"
"#;

const JSON: &str = r#"{
    "providers": [
        {
            "resolve": "locking-redis",
            "id": "main",
            "is_default": true,
            "options": {
                "url": "redis://:hunter2@host",
                "pool": 4,
                "names": ["a", "b"],
                "tls": { "enabled": true },
                "wait_locking_timeout": 2.5
            }
        },
        { "resolve": "locking-memory" }
    ]
}"#;

const YAML: &str = r#"
providers:
  - resolve: locking-redis
    id: main
    is_default: true
    options:
      url: "redis://:hunter2@host"
      pool: 4
      names: [a, b]
      tls:
        enabled: true
      wait_locking_timeout: 2.5
  - resolve: locking-memory
"#;

fn from_toml(text: &str) -> Result<LockingConfig, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

fn from_json(text: &str) -> Result<LockingConfig, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn from_yaml(text: &str) -> Result<LockingConfig, String> {
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

fn in_each_format() -> [LockingConfig; 3] {
    [from_toml(TOML), from_json(JSON), from_yaml(YAML)].map(|config| config.expect("valid"))
}

/// An entry as plain data.
fn data(entry: &ProviderConfig) -> (&str, Option<&str>, bool, &Map<String, Value>) {
    (&entry.resolve, entry.id.as_deref(), entry.is_default, &entry.options)
}

#[test]
fn each_format_gives_the_same_entries() {
    let options = json!({
        "url": "redis://:hunter2@host",
        "pool": 4,
        "names": ["a", "b"],
        "tls": { "enabled": true },
        "wait_locking_timeout": 2.5,
    });
    let options = options.as_object().expect("an object");
    for config in in_each_format() {
        let entries: Vec<_> = config.providers.iter().map(data).collect();
        let main = ("locking-redis", Some("main"), true, options);
        assert_eq!(entries, [main, ("locking-memory", None, false, &Map::new())]);
    }
}

#[tokio::test]
async fn each_format_gives_the_providers_the_same_options() {
    let mut read = Vec::new();
    for config in in_each_format() {
        let module = start(config.providers).await.expect("valid");
        assert_eq!(module.providers()[0].as_str(), "main");
        read.push(built());
    }
    assert_eq!(read[0].len(), 2);
    assert!(read.iter().all(|options| *options == read[0]), "{read:?}");
}

#[test]
fn a_configuration_without_anything_has_no_entries() {
    for config in [from_toml(""), from_json("{}"), from_yaml("{}"), from_yaml("providers: []")] {
        assert!(config.expect("valid").providers.is_empty());
    }
}

#[test]
fn an_unknown_field_is_refused_in_each_format() {
    let refused = [
        from_toml("provider = []"),
        from_json(r#"{ "provider": [] }"#),
        from_yaml("provider: []"),
        from_toml("[[providers]]\nresolve = \"locking-memory\"\nisDefault = true"),
        from_json(r#"{ "providers": [{ "resolve": "locking-memory", "isDefault": true }] }"#),
        from_yaml("providers:\n  - resolve: locking-memory\n    isDefault: true"),
    ];
    for answer in refused {
        let text = answer.expect_err("an unknown field");
        assert!(text.contains("unknown field"), "{text}");
    }
}

#[test]
fn an_entry_says_what_it_resolves_to() {
    for answer in [from_toml("[[providers]]\nid = \"a\""), from_yaml("providers:\n  - id: a")] {
        let text = answer.expect_err("nothing to resolve");
        assert!(text.contains("resolve"), "{text}");
    }
}

#[test]
fn the_debug_of_a_configuration_shows_no_option_value() {
    for config in in_each_format() {
        for shown in [format!("{config:?}"), format!("{config:#?}")] {
            assert!(shown.contains("locking-redis") && shown.contains("wait_locking_timeout"));
            assert!(!shown.contains("hunter2") && !shown.contains("2.5"), "{shown}");
        }
    }
}

#[test]
fn the_debug_of_a_builder_shows_no_option_value() {
    let [config, ..] = in_each_format();
    let shown = format!("{:?}", locking_core::LockingModule::builder(config));
    assert!(shown.contains("url") && !shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn the_debug_of_options_on_their_way_shows_no_value() {
    use locking_core::{Error, LockingModule, ProviderRegistration};

    let shows = ProviderRegistration::new("shows", |id, options| {
        let shown = format!("{options:?}");
        Box::pin(async move { Err(Error::unavailable(&id, shown)) })
    });
    let entry = ProviderConfig::new("shows").with_option("url", "redis://:hunter2@host");
    let config = LockingConfig::new().with_provider(entry);
    let error = LockingModule::builder(config).register(shows).build().await.expect_err("it shows");
    let shown = format!("{error:?}");
    assert!(shown.contains("url"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
