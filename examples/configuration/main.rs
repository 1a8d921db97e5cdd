//! Providers as a file and the environment say, and what one is told of mistakes in them.
//!
//! ```text
//! cargo run --example configuration
//! REPORT_PATIENCE=300ms cargo run --example configuration
//! ```
//!
//! 1. `locking.toml`, beside this program's source, names two providers. One is the default; of the other
//!    an option comes from the environment.
//! 2. The program starts itself again with another environment: the option follows.
//! 3. Mistakes are found at start, before anything is locked. Each says where it is and what would be right.
//!
//! Each part checks what it shows; if one comes out otherwise, the program ends with an error.

use std::env;
use std::error::Error as StdError;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use locking::{Error, LockingConfig, LockingModule};

/// The variable that the file refers to.
const PATIENCE: &str = "REPORT_PATIENCE";

type Result<T = ()> = std::result::Result<T, Box<dyn StdError + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result {
    the_file().await?;
    if env::var_os(PATIENCE).is_none() {
        again_with_another_environment()?;
        println!("\nand files with a mistake:");
        for (mistake, named) in MISTAKES {
            refused(mistake, named).await?;
        }
    }
    Ok(())
}

async fn the_file() -> Result {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("locking.toml");
    // The settings of a program are read with whatever it reads them with: all that the module needs is
    // a `LockingConfig`, which may be a part of something greater.
    let config: LockingConfig = toml::from_str(&std::fs::read_to_string(file)?)?;
    let module = LockingModule::new(config).await?;

    let providers = module.providers();
    println!("providers: {}, {}; the default is {}", providers[0], providers[1], providers[0]);
    ensure(providers[0].as_str() == "carts", "the flagged entry is the default")?;

    let set = env::var(PATIENCE).unwrap_or_else(|_| "not set, so it is the file's 20ms".to_owned());
    let waited = patience(&module).await?;
    println!("{PATIENCE} is {set}: a second report waited {} ms", waited.as_millis());
    ensure(waited >= Duration::from_millis(20), "it waits as long as the option says")?;
    if set == "300ms" {
        ensure(waited >= Duration::from_millis(300), "the option comes from the environment")?;
    }
    Ok(())
}

/// For how long a call waits that doesn't say it itself.
async fn patience(module: &LockingModule) -> Result<Duration> {
    let _first = module.lock("monthly").provider("reports").await?;
    let asked = Instant::now();
    let second = module.lock("monthly").provider("reports").await;
    ensure(matches!(second, Err(Error::TimedOut { .. })), "the first one isn't done")?;
    Ok(asked.elapsed())
}

fn again_with_another_environment() -> Result {
    println!("\nand once more with {PATIENCE}=300ms:");
    let again = Command::new(env::current_exe()?).env(PATIENCE, "300ms").status()?;
    ensure(again.success(), "the same file does in another environment")
}

/// Files with a mistake, and what the error has to name.
const MISTAKES: [(&str, &str); 6] = [
    (
        r#"[[providers]]
resolve = "locking-memory"
options = { wait_timeout = "5s" }"#,
        "`providers[0].options.wait_timeout`",
    ),
    (
        r#"[[providers]]
resolve = "locking-memory"
options = { wait_locking_timeout = "5 apples" }"#,
        "`providers[0].options.wait_locking_timeout`",
    ),
    (
        r#"[[providers]]
resolve = "locking-memory"
options = { wait_locking_timeout = "${CART_PATIENCE_THAT_NOBODY_SET}" }"#,
        "`CART_PATIENCE_THAT_NOBODY_SET`",
    ),
    (
        r#"[[providers]]
resolve = "locking-memori""#,
        "`locking-memory`",
    ),
    (
        r#"providers = [
    { resolve = "locking-memory", id = "carts", is_default = true },
    { resolve = "locking-memory", id = "reports", is_default = true },
]"#,
        "`carts`, `reports`",
    ),
    (
        r#"[[providers]]
resolve = "locking-memory"
id = "lp_carts""#,
        "`lp_`",
    ),
];

async fn refused(file: &str, named: &str) -> Result {
    println!("\n{file}");
    let Err(error) = LockingModule::new(toml::from_str(file)?).await else {
        return Err("a mistake was expected here".into());
    };
    println!("-> {error}");
    ensure(matches!(error, Error::Configuration(_)), "it is an error of the configuration")?;
    ensure(error.to_string().contains(named), "the error says what is meant")
}

fn ensure(holds: bool, expectation: &str) -> Result {
    if holds { Ok(()) } else { Err(format!("expected: {expectation}").into()) }
}
