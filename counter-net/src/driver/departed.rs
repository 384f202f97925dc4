//! Nodes in memory whose processes are gone for certain, as local discovery says: this node ends them as an operator would.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_core::ReplicaId;

use crate::protocol::{NodeId, RetireError};
use crate::shared::Shared;

/// A node is ended this long after its process: what it had sent has arrived everywhere by then. Less loses adds that are still under way.
const ARRIVED_AFTER: Duration = Duration::from_secs(10);
/// Nobody has heard of it after this: it had nothing.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// Nodes that are remembered at most; those beyond it wait for an operator.
const DEPARTED_MAX: usize = 1024;

/// The nodes that are to be ended, with the time when they were found gone.
#[derive(Debug, Default)]
pub(super) struct Departed(BTreeMap<NodeId, Duration>);

impl Departed {
    pub(super) fn note(&mut self, nodes: Vec<NodeId>, now: Duration) {
        for node in nodes {
            if self.0.len() < DEPARTED_MAX {
                self.0.entry(node).or_insert(now);
            }
        }
    }

    /// Ends those whose time has come. True where the state changed.
    pub(super) fn settle(&mut self, shared: &Shared, now: Duration) -> bool {
        if !self.0.values().any(|since| now >= *since + ARRIVED_AFTER) {
            return false;
        }
        let mut guard = shared.write();
        let state = &mut *guard;
        if !state.replicator.is_synced() {
            return false;
        }
        let mut changed = false;
        self.0.retain(|node, since| {
            if now < *since + ARRIVED_AFTER {
                return true;
            }
            let latest: Option<ReplicaId> = state.replica.map().enrolled().filter(|replica| replica.node == node.0).max();
            match latest.map(|latest| (latest, state.replicator.force_retire(&mut state.replica, latest))) {
                Some((latest, Ok(()))) => {
                    tracing::info!(replica = %latest, "its process on this machine is gone: this node takes over what it counted");
                    changed = true;
                    false
                }
                // It is believed to be there for a few seconds more.
                Some((_, Err(RetireError::Live))) => true,
                Some(_) => false,
                None => now < *since + FORGOTTEN_AFTER,
            }
        });
        changed
    }
}
