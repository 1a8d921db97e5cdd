use std::fmt;

use serde_json::{Value, json};

use super::figure::Figure;
use super::placement::Placement;
use super::release_all::{self, ReleaseAll};
use crate::report::{group_to_json, reached, write_group};
use crate::rounds::Group;

/// All that was measured, as a table or as JSON.
pub(crate) struct Report {
    pub(crate) placement: Placement,
    pub(crate) groups: Vec<Group>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) release_all: ReleaseAll,
}

impl Report {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "placement": self.placement.to_string(),
            "groups": self.groups.iter().map(group_to_json).collect::<Vec<_>>(),
            "figures": self.figures.iter().map(Figure::to_json).collect::<Vec<_>>(),
            "release_all": {
                "held": release_all::HELD,
                "freed": release_all::OWN,
                "server_milliseconds": self.release_all.server,
                "milliseconds": self.release_all.wall,
                "target_milliseconds": self.release_all.target,
                "reached": self.release_all.server <= self.release_all.target,
            },
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.placement)?;
        for group in &self.groups {
            write_group(f, group)?;
        }
        for figure in &self.figures {
            writeln!(f, "{figure}")?;
        }
        let ReleaseAll { server, target, wall } = self.release_all;
        writeln!(
            f,
            "release_all(owner), {} of {} held keys: {server:.2} ms of the server's time, {wall:.2} ms in all; target {target} ms of the server's: {}",
            release_all::OWN,
            release_all::HELD,
            reached(server <= target),
        )
    }
}
