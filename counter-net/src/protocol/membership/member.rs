//! Members, their lag and a region's presence, as readers see them.

use std::time::Duration;

use counter_core::ReplicaId;

/// A node as the cluster knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// The node's incarnation.
    pub replica: ReplicaId,
    /// Where it runs.
    pub region: String,
    /// How many viewers it has.
    pub viewers: u64,
    /// The release that it runs.
    pub release: String,
    /// True while it counts for presence: it was heard from within its ttl, has not left, and no
    /// suspicion ended its presence.
    pub live: bool,
    /// True if it announced its leave.
    pub left: bool,
    /// True if it says that it has caught up.
    pub synced: bool,
    /// Time since anything of its own was heard: an announcement, a digest, a delta, an answer, a
    /// ping. Zero for this node.
    pub last_heard: Duration,
    /// True if a connection to it is open.
    pub connected: bool,
    /// How far it is from this node, by the digest last heard from it. `None` if none was heard.
    pub lag: Option<Lag>,
}

/// A [`Lag`] counts at most this many cells.
pub(crate) const LAG_CELLS_MAX: usize = 10_000;

/// How far a member is from this node. A version is one change of one cell, so versions are upper
/// bounds of cells.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Lag {
    /// Cells (one counter of one writer each) that the member lacked when it was heard. At most
    /// 10,000 are counted.
    pub cells_behind: usize,
    /// For how long this node had held the first cell that the member lacked when it was heard.
    /// Zero if it lacked nothing. Under load it is exact to 100 ms, and coarser for a long lag.
    /// This node remembers 8 earlier moments, the older the coarser. Within their reach the time is
    /// never too short.
    pub time_behind: Duration,
    /// Versions that this node holds and the member did not.
    pub versions_behind: u64,
    /// Versions that the member held and this node does not.
    pub versions_ahead: u64,
    /// Time since that digest was heard.
    pub heard: Duration,
}

/// How far the sender of a digest was behind this node when the digest came.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Shortfall {
    /// Up to [`LAG_CELLS_MAX`].
    pub cells: usize,
    pub time: Duration,
}

/// A region's presence: the sum over its live members.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Presence {
    /// Viewers.
    pub connected: u64,
    /// Live nodes.
    pub nodes: u64,
}
