//! What is measured of every provider that has a server.

pub(crate) mod figure;
pub(crate) mod hand_off;
pub(crate) mod placement;
pub(crate) mod processes;
pub(crate) mod release_all;
pub(crate) mod report;
pub(crate) mod turns;
