//! A snapshot of one counter: total, regions, viewers and state hash.

use std::collections::BTreeMap;

use counter_core::StateHash;

use crate::shared::{NodeState, Shared};

/// A snapshot of one counter; see [`Node::view`](crate::Node::view).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CounterView {
    /// The counter's name.
    pub name: String,
    /// The sum over all regions.
    pub total: i128,
    /// Every region with a value in this counter, a viewer or a live node.
    pub regions: BTreeMap<String, RegionView>,
    /// The hash of the node's whole state. Two nodes with equal hashes agree on all counters. Adds
    /// that are not flushed yet are not in it.
    pub state_hash: StateHash,
    /// True once this node has caught up with its cluster.
    pub synced: bool,
}

/// One region of a [`CounterView`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionView {
    /// The region's part of the total. May be negative.
    pub value: i128,
    /// Viewers at the region's live nodes, over all counters.
    pub connected: u64,
    /// Live nodes in the region.
    pub nodes: u64,
}

impl CounterView {
    pub(super) fn of(shared: &Shared, name: &str) -> Self {
        let mut state = shared.write();
        let state_hash = state.replica.state_hash();
        let synced = state.replicator.is_synced();
        let mut regions: BTreeMap<String, RegionView> = values_by_region(&state, name)
            .into_iter()
            .map(|(region, value)| (region, RegionView { value, ..RegionView::default() }))
            .collect();
        for (region, presence) in state.replicator.presence() {
            let row = regions.entry(region).or_default();
            row.connected = presence.connected;
            row.nodes = presence.nodes;
        }
        let own = regions.entry(shared.identity.region.clone()).or_default();
        own.nodes = own.nodes.max(1);
        // The replicator learns of new viewers a moment later. A page that has just opened must
        // count itself now.
        own.connected = (own.connected + shared.viewer_count()).saturating_sub(state.viewers_told);
        Self {
            name: name.to_owned(),
            total: state.replica.total(name),
            regions,
            state_hash,
            synced,
        }
    }
}

/// The value of every region that has one, including adds that are not flushed yet.
pub(super) fn values_by_region(state: &NodeState, name: &str) -> BTreeMap<String, i128> {
    let replica = &state.replica;
    let mut values: BTreeMap<String, i128> = replica
        .map()
        .regions(name)
        .map(|(region, _)| (region.to_owned(), replica.value(name, region)))
        .collect();
    let own = replica.value(name, replica.region());
    if own != 0 {
        values.insert(replica.region().to_owned(), own);
    }
    values
}
