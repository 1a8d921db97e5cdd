/// The one script: every operation, in the order in which the files build on each other.
pub(crate) const SOURCE: &str = concat!(
    include_str!("lua/prelude.lua"),
    include_str!("lua/queue.lua"),
    include_str!("lua/acquire.lua"),
    include_str!("lua/release.lua"),
    include_str!("lua/survey.lua"),
    include_str!("lua/main.lua"),
);
