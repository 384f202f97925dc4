//! The number of this node's incarnation, if no disk remembers the numbers before it.
//!
//! A node with a name and no directory draws a number from its clock. The clock may have been set
//! back, or two starts may fall into one second. A number at or below a folded one would lose all
//! that is counted under it. So before anything of this incarnation leaves the node, peers say
//! which numbers of the node they know, and the incarnation takes a higher one.
//!
//! Invariant: while the number is open, nobody else holds anything of this incarnation, so it may
//! still change. A synced peer's answer settles it. If no peer is synced, the answers of all
//! connected peers do.

use std::collections::BTreeSet;

use crate::protocol::input::NodeId;

/// The greatest number that a peer may name. No clock gives a greater one, and there must be room
/// above it.
pub(super) const LATEST_MAX: u64 = u64::MAX >> 1;

/// The state of this incarnation's number: open or settled, and the answers of peers.
#[derive(Debug, Default)]
pub(crate) struct Numbering {
    /// No disk remembers the numbers before this one.
    asks: bool,
    is_open: bool,
    /// The greatest number of this node that a peer named.
    latest: u64,
    /// A synced peer has answered.
    is_sure: bool,
    answered: BTreeSet<NodeId>,
}

impl Numbering {
    /// No disk remembers the numbers before this one, so it is open until peers have answered.
    pub(super) fn open(&mut self) {
        (self.asks, self.is_open) = (true, true);
    }

    /// The number no longer changes.
    pub(super) fn close(&mut self) {
        self.is_open = false;
    }

    /// True while the number may still change. Nothing of this incarnation leaves the node
    /// meanwhile.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// True if no disk remembers the numbers of this node, so that its own may turn out too low.
    pub(crate) fn asks(&self) -> bool {
        self.asks
    }

    /// A member named a number of this node.
    pub(crate) fn hear(&mut self, latest: u64) {
        self.latest = self.latest.max(latest.min(LATEST_MAX));
    }

    /// The greatest number of this node that a peer named; 0 for none.
    pub(super) fn latest(&self) -> u64 {
        self.latest
    }

    /// A peer has answered.
    pub(super) fn answer(&mut self, peer: NodeId, is_synced: bool) {
        self.answered.insert(peer);
        self.is_sure |= is_synced;
    }

    /// True once a synced peer has answered.
    pub(super) fn is_sure(&self) -> bool {
        self.is_sure
    }

    pub(super) fn has_answered(&self, peer: NodeId) -> bool {
        self.answered.contains(&peer)
    }
}
