//! Retires in-memory nodes whose process on this machine has died. Local discovery reports them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::protocol::{NodeId, RetireError};
use crate::shared::Shared;

/// How long after the end of its process a node is retired. By then all its messages have arrived.
/// A shorter time would lose adds in flight.
const ARRIVED_AFTER: Duration = Duration::from_secs(10);
/// A node that is still unknown after this time never counted anything, and is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// The most nodes that wait to be retired. Further ones are left to an operator.
const DEPARTED_MAX: usize = 1024;

/// The nodes to retire, and when each was found dead.
#[derive(Debug, Default)]
pub(super) struct Departed(BTreeMap<NodeId, Duration>);

impl Departed {
    /// The processes of these nodes have ended.
    pub(super) fn note(&mut self, nodes: Vec<NodeId>, now: Duration) {
        for node in nodes {
            if self.0.len() < DEPARTED_MAX {
                self.0.entry(node).or_insert(now);
            }
        }
    }

    /// Retires the nodes whose time has come. Returns true if the state changed.
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
            let incarnations =
                state.replica.map().enrolled().filter(|replica| replica.node == node.0);
            let Some(latest) = incarnations.max() else { return now < *since + FORGOTTEN_AFTER };
            match state.replicator.force_retire(&mut state.replica, latest) {
                Ok(()) => {
                    tracing::info!(
                        replica = %latest,
                        "a node's process on this machine has ended: taking over its counts"
                    );
                    changed = true;
                    false
                }
                // The failure detector takes a few more seconds.
                Err(RetireError::Live) => true,
                Err(_) => false,
            }
        });
        changed
    }
}
