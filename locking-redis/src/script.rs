/// The one script: every operation, in the order in which the files build on each other.
///
/// What isn't needed in the usual case is in a function: a call that doesn't need it doesn't define it.
pub(crate) const SOURCE: &str = concat!(
    include_str!("lua/prelude.lua"),
    include_str!("lua/usual.lua"),
    "local function define()\n",
    include_str!("lua/common.lua"),
    include_str!("lua/contended.lua"),
    include_str!("lua/several.lua"),
    "local function others()\n",
    include_str!("lua/queue.lua"),
    include_str!("lua/acquire.lua"),
    include_str!("lua/release.lua"),
    include_str!("lua/extend.lua"),
    include_str!("lua/survey.lua"),
    include_str!("lua/others.lua"),
    "end\n",
    include_str!("lua/unusual.lua"),
    "end\n",
    include_str!("lua/main.lua"),
);
