//! A member as readers see it, and a region's presence.

use std::time::Duration;

use counter_core::ReplicaId;

/// A node as the cluster knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// The incarnation of the node that is meant.
    pub replica: ReplicaId,
    /// Where it runs.
    pub region: String,
    /// How many viewers it has.
    pub viewers: u64,
    /// The release that it runs.
    pub release: String,
    /// Heard of within its ttl, not left, and no suspicion ended its presence: it counts for
    /// presence.
    pub live: bool,
    /// It announced that it leaves.
    pub left: bool,
    /// It says of itself that it has caught up.
    pub synced: bool,
    /// Time since anything of its own was heard: an announcement, a digest, a delta, an answer, a
    /// ping. For this node itself zero.
    pub last_heard: Duration,
    /// True where a connection to it is open.
    pub connected: bool,
    /// How far it is from this node, as of the digest last heard from it; `None` where none was.
    pub lag: Option<Lag>,
}

/// More cells than this are not counted for a [`Lag`].
pub(crate) const LAG_CELLS_MAX: usize = 10_000;

/// How far a member is from this node. A version is one change of one cell, so versions are upper
/// bounds of cells.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Lag {
    /// Cells (one counter of one writer each) that the member lacked when it was heard, at most
    /// 10,000: more are not counted.
    pub cells_behind: usize,
    /// How long, when it was heard, this node had held the first thing that the member lacked; zero
    /// where it lacked nothing. Under load to 100 ms, of a long lag coarser, never too short but
    /// for what lies further back than this node remembers (8 moments, ever coarser).
    pub time_behind: Duration,
    /// Versions that this node holds and the member did not.
    pub versions_behind: u64,
    /// Versions that the member held and this node does not.
    pub versions_ahead: u64,
    /// Time since that digest was heard.
    pub heard: Duration,
}

/// What the sender of a digest lacked when that was heard.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Shortfall {
    /// Up to [`LAG_CELLS_MAX`].
    pub cells: usize,
    pub time: Duration,
}

/// Who is in a region: the sum over its live members.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Presence {
    /// Viewers.
    pub connected: u64,
    /// Live nodes.
    pub nodes: u64,
}
