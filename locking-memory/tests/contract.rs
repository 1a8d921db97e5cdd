//! The contract suite, against the memory provider.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use locking_core::{LockingProvider, async_trait};
use locking_memory::{CAPABILITIES, MemoryProvider};
use locking_testkit::Harness;

/// One table per space.
#[derive(Default)]
struct Memory(Mutex<HashMap<String, MemoryProvider>>);

impl Memory {
    fn client(&self, space: &str) -> MemoryProvider {
        let mut tables = self.0.lock().expect("no case panics here");
        tables.entry(space.to_owned()).or_default().another_client()
    }
}

#[async_trait]
impl Harness for Memory {
    async fn connect(&self, space: &str) -> Arc<dyn LockingProvider> {
        Arc::new(self.client(space))
    }

    async fn entries(&self, space: &str) -> Option<u64> {
        Some(self.client(space).table_len() as u64)
    }
}

fn main() -> ExitCode {
    locking_testkit::main(CAPABILITIES, || async { Memory::default() })
}
