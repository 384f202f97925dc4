//! What is remembered of those who hold what this replica wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use counter_core::{ReplicaId, Version};

use crate::protocol::input::NodeId;

/// What is remembered of the holders of this replica's changes.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// The greatest own version that a replica showed to hold, kept beyond its connection: what a
    /// incarnation holds it holds for good.
    pub(crate) shown: BTreeMap<ReplicaId, Version>,
    /// Replicas that said they leave; remembered when members have forgotten it. Only of writers
    /// that are known.
    pub(crate) left: BTreeSet<ReplicaId>,
    /// Peers are not asked again before, where their last answer fell short.
    pub(crate) again: BTreeMap<NodeId, Duration>,
    /// Versions that somebody waits for are not chased before.
    pub(crate) next_chase: Duration,
}
