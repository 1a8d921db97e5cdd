use std::fs::{File, OpenOptions, read_to_string};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use locking::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use steno::{SagaCachedState, SagaCreateParams, SagaId, SagaNodeEvent, SecStore};

use crate::Result;

/// What a saga has done, in a file: a line of JSON each.
#[derive(Debug)]
pub(crate) struct Journal(Mutex<File>);

/// What is known of a saga that another process had begun.
pub(crate) struct Recorded {
    pub(crate) id: SagaId,
    pub(crate) dag: Value,
    pub(crate) events: Vec<SagaNodeEvent>,
}

#[derive(Serialize, Deserialize)]
enum Line {
    Begun(SagaCreateParams),
    Happened(SagaNodeEvent),
}

impl Journal {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let text = read_to_string(path)?;
        file.set_len(text.rfind('\n').map_or(0, |end| end + 1) as u64)?;
        Ok(Self(Mutex::new(file)))
    }

    /// What is in the file; `None` if there is no saga in it yet.
    pub(crate) fn read(path: &Path) -> Result<Option<Recorded>> {
        let text = match read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let (mut begun, mut events) = (None, Vec::new());
        // What follows the last end of a line was cut off in the midst: it didn't happen.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for line in text[..whole].lines() {
            match serde_json::from_str(line)? {
                Line::Begun(saga) => begun = Some(saga),
                Line::Happened(event) => events.push(event),
            }
        }
        Ok(begun.map(|SagaCreateParams { id, dag, .. }| Recorded { id, dag, events }))
    }

    /// On the disk before the saga goes on.
    fn write(&self, line: &Line) -> std::io::Result<()> {
        let text = serde_json::to_string(line)? + "\n";
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(text.as_bytes())?;
        file.sync_data()
    }
}

#[async_trait]
impl SecStore for Journal {
    async fn saga_create(&self, saga: SagaCreateParams) -> Result<(), anyhow::Error> {
        Ok(self.write(&Line::Begun(saga))?)
    }

    async fn record_event(&self, event: SagaNodeEvent) {
        self.write(&Line::Happened(event))
            .expect("a saga that can't be written down must not go on");
    }

    async fn saga_update(&self, _id: SagaId, _state: SagaCachedState) {
        // The events tell it.
    }
}
