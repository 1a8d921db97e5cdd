use std::fmt;

use serde_json::{Value, json};

use crate::release_all::{self, ReleaseAll};
use crate::rounds::{Group, Target};

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

fn write_group(f: &mut fmt::Formatter<'_>, group: &Group) -> fmt::Result {
    let Group { title, tasks, rounds, .. } = group;
    writeln!(f, "{title}, {tasks} task(s), medians of {} rounds", rounds.len())?;
    write!(f, "  {:<29} {:>9}", "", "per s")?;
    for floor in group.floors {
        write!(f, " {:>15}", format!("of {floor}"))?;
    }
    writeln!(f)?;
    for variant in &group.variants {
        write!(f, "  {:<29} {:>9}", variant.name, thousands(group.rate(variant.name)))?;
        for floor in group.floors {
            write!(f, " {:>15.2}", group.ratio(variant.name, floor))?;
        }
        for target in group.targets.iter().filter(|target| target.variant == variant.name) {
            let (floor, ratio) = outcome(group, target);
            let verdict = reached(ratio >= target.ratio);
            write!(f, "  target {} of {floor}: {verdict}", target.ratio)?;
        }
        writeln!(f)?;
    }
    writeln!(f)
}

fn group_to_json(group: &Group) -> Value {
    let variants: Vec<_> = group.variants.iter().map(|variant| {
        let ratios: serde_json::Map<_, _> = group
            .floors
            .iter()
            .map(|floor| (floor.to_string(), json!(group.ratio(variant.name, floor))))
            .collect();
        json!({ "name": variant.name, "per_second": group.rate(variant.name), "ratios": ratios })
    }).collect();
    let targets: Vec<_> = group
        .targets
        .iter()
        .map(|target| {
            let (floor, ratio) = outcome(group, target);
            json!({
                "name": target.variant,
                "floor": floor,
                "target": target.ratio,
                "ratio": ratio,
                "reached": ratio >= target.ratio,
            })
        })
        .collect();
    json!({
        "title": group.title,
        "tasks": group.tasks,
        "rounds": group.rounds.len(),
        "variants": variants,
        "targets": targets,
    })
}

/// The floor that a target is measured by, and what was reached of it.
fn outcome<'t>(group: &Group, target: &Target) -> (&'t str, f64) {
    let floor = group.fastest(target.floors);
    (floor, group.ratio(target.variant, floor))
}

fn reached(is_reached: bool) -> &'static str {
    if is_reached { "reached" } else { "MISSED" }
}

fn thousands(rate: f64) -> String {
    format!("{:.0}k", rate / 1e3)
}
