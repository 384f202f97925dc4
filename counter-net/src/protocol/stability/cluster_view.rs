//! The node as its confirmations see it.

use std::cell::OnceCell;

use counter_core::{CounterMap, ReplicaId, VersionVector};

use crate::protocol::membership::Membership;

/// A node's state, and the live members that it knows.
pub(super) struct ClusterView<'a> {
    pub map: &'a CounterMap,
    /// Changes whenever the state does.
    pub stamp: u64,
    pub is_synced: bool,
    own: ReplicaId,
    membership: &'a Membership,
    /// The version vector of the map, once it was asked for.
    state: OnceCell<VersionVector>,
}

impl<'a> ClusterView<'a> {
    pub(super) fn new(
        own: ReplicaId,
        map: &'a CounterMap,
        membership: &'a Membership,
        stamp: u64,
        is_synced: bool,
    ) -> Self {
        Self { map, stamp, is_synced, own, membership, state: OnceCell::new() }
    }

    /// All that this node holds. O(writers) the first time.
    pub(super) fn state(&self) -> &VersionVector {
        self.state.get_or_init(|| self.map.version_vector())
    }

    /// The other live members, ascending. O(members).
    pub(super) fn live(&self) -> impl Iterator<Item = ReplicaId> {
        self.membership.others_live().map(|(_, entry)| entry.replica)
    }

    /// True if no live synced member has a lower id. O(1) where one of the lowest is synced.
    pub(super) fn leads(&self) -> bool {
        let mut lower =
            self.membership.others_live().take_while(|(node, _)| node.0 < self.own.node);
        lower.all(|(_, entry)| !entry.synced)
    }
}
