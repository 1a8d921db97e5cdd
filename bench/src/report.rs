//! Groups as tables and as JSON.

use std::fmt;

use serde_json::{Value, json};

use crate::rounds::{Group, Target, Workers};

/// Of a column for a floor.
const WIDTH: usize = 18;

pub(crate) fn write_group(f: &mut fmt::Formatter<'_>, group: &Group) -> fmt::Result {
    let Group { title, workers, rounds, .. } = group;
    writeln!(f, "{title}, {workers}, medians of {} rounds", rounds.len())?;
    write!(f, "  {:<29} {:>9}", "", "per s")?;
    for floor in group.floors {
        write!(f, " {:>WIDTH$}", format!("of {floor}"))?;
    }
    writeln!(f)?;
    for variant in &group.variants {
        write!(f, "  {:<29} {:>9}", variant.name, per_second(group.rate(variant.name)))?;
        for floor in group.floors {
            write!(f, " {:>WIDTH$.2}", group.ratio(variant.name, floor))?;
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

pub(crate) fn group_to_json(group: &Group) -> Value {
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
        (match group.workers {
            Workers::Tasks(_) => "tasks",
            Workers::Processes(_) => "processes",
        }): group.workers.count(),
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

pub(crate) fn reached(is_reached: bool) -> &'static str {
    if is_reached { "reached" } else { "MISSED" }
}

fn per_second(rate: f64) -> String {
    if rate < 1e5 { format!("{rate:.0}") } else { format!("{:.0}k", rate / 1e3) }
}
