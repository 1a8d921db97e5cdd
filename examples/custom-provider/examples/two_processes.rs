//! Two processes count in one file, one at a time: `cargo run --example two_processes`.
//!
//! The provider is picked by a configuration, as in any application. It is named once, so that it is
//! linked.

use std::error::Error;
use std::path::Path;
use std::process::Command;

use locking_core::{LockingConfig, LockingModule, ProviderConfig};
use locking_sqlite::IDENTIFIER;

const TIMES: u32 = 200;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(folder) => count(Path::new(&folder)).await,
        None => both(),
    }
}

/// Starts this program twice, and looks at what came of it.
fn both() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("two-processes-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("count"), "0")?;
    let process = || Command::new(std::env::current_exe()?).arg(&folder).spawn();
    for mut process in [process()?, process()?] {
        assert!(process.wait()?.success());
    }
    let counted = std::fs::read_to_string(folder.join("count"))?;
    println!("two processes counted to {TIMES} each: {counted}");
    assert_eq!(counted, (2 * TIMES).to_string());
    Ok(std::fs::remove_dir_all(folder)?)
}

/// Reads and writes, with nobody else between.
async fn count(folder: &Path) -> Result<(), Box<dyn Error>> {
    let locks = folder.join("locks.sqlite").display().to_string();
    let provider = ProviderConfig::new(IDENTIFIER).with_option("path", locks);
    let module = LockingModule::new(LockingConfig::new().with_provider(provider)).await?;
    let file = folder.join("count");
    for _ in 0..TIMES {
        let add_one = |_lock| async {
            let count: u32 =
                std::fs::read_to_string(&file)?.parse().map_err(std::io::Error::other)?;
            tokio::task::yield_now().await;
            std::fs::write(&file, (count + 1).to_string())
        };
        module.execute("count", add_one).await??;
    }
    Ok(())
}
