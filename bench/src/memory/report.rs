use std::fmt;

use serde_json::{Value, json};

use crate::memory::release_all::{self, ReleaseAll};
use crate::report::{group_to_json, reached, write_group};
use crate::rounds::Group;

/// What a held key should keep at most.
const BYTES_PER_KEY: f64 = 500.0;

/// All that was measured, as a table or as JSON.
pub(crate) struct Report {
    pub(crate) groups: Vec<Group>,
    pub(crate) release_all: ReleaseAll,
    pub(crate) footprint: Option<Value>,
}

impl Report {
    pub(crate) fn to_json(&self) -> Value {
        let target = release_all::TARGET.as_secs_f64() * 1e3;
        let mut report = json!({
            "groups": self.groups.iter().map(group_to_json).collect::<Vec<_>>(),
            "release_all": {
                "held": release_all::HELD,
                "freed": release_all::OWN,
                "milliseconds": self.release_all.module,
                "scan_of_sharded_map_milliseconds": self.release_all.scan,
                "target_milliseconds": target,
                "reached": self.release_all.module <= target,
            },
        });
        if let Some(footprint) = &self.footprint {
            report["footprint"] = footprint.clone();
            report["footprint"]["target_bytes_per_key"] = json!(BYTES_PER_KEY);
            let reached = BYTES.iter().all(|(_, name)| bytes(footprint, name) <= BYTES_PER_KEY);
            report["footprint"]["reached"] = json!(reached);
        }
        report
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in &self.groups {
            write_group(f, group)?;
        }
        let (took, scan) = (self.release_all.module, self.release_all.scan);
        let target = release_all::TARGET.as_secs_f64() * 1e3;
        writeln!(
            f,
            "release_all(owner), {} of {} held keys: {took:.2} ms; a scan of the sharded map: {scan:.2} ms; target {target} ms: {}",
            release_all::OWN,
            release_all::HELD,
            reached(took <= target),
        )?;
        let Some(footprint) = &self.footprint else { return Ok(()) };
        for (title, name) in BYTES {
            let kept = bytes(footprint, name);
            let verdict = reached(kept <= BYTES_PER_KEY);
            writeln!(f, "{title}: {kept:.0} bytes; target {BYTES_PER_KEY}: {verdict}")?;
        }
        for (title, name) in ALLOCATIONS {
            writeln!(f, "{title}: {:.2} allocations", bytes(footprint, name))?;
        }
        Ok(())
    }
}

/// What `footprint` counts in bytes, and under which name.
const BYTES: [(&str, &str); 2] = [
    ("a held key", "bytes_per_key"),
    ("a held key with owner and expiry", "bytes_per_key_with_owner_and_expiry"),
];

/// What it counts in allocations.
const ALLOCATIONS: [(&str, &str); 3] = [
    ("acquire + release", "allocations_per_acquire_and_release"),
    (
        "acquire + release, owner and expiry",
        "allocations_per_acquire_and_release_with_owner_and_expiry",
    ),
    ("execute", "allocations_per_execute"),
];

fn bytes(footprint: &Value, name: &str) -> f64 {
    footprint[name].as_f64().unwrap_or(f64::NAN)
}
