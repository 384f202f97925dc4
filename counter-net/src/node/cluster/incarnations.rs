//! Incarnations of nodes and their retirement. One is enrolled until a successor claims it, and
//! forgotten once it is folded.

use std::collections::BTreeMap;

use counter_core::ReplicaId;

use crate::protocol::{Member, RetireError};
use crate::shared::Shared;

/// One incarnation of one node; see [`Node::incarnations`](crate::Node::incarnations).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Incarnation {
    /// The incarnation.
    pub replica: ReplicaId,
    /// The region it runs or ran in.
    pub region: String,
    /// Its standing in the cluster.
    pub standing: Standing,
    /// True if this node, as a successor, waits for this incarnation before it may fold ended ones.
    /// That costs bytes and no count.
    pub holds_up_folding: bool,
}

/// The standing of an incarnation in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It was heard from recently, or it is this node's own.
    Live,
    /// Enrolled and not heard of: it stopped, crashed or is out of reach. The next incarnation from
    /// its data directory takes it over. If there will be none, use
    /// [`Node::retire`](crate::Node::retire).
    Absent,
    /// Its end is on record. This successor takes over its counts, and then it is forgotten. `None`
    /// if the successor has ended too and has no successor yet.
    Ended(Option<ReplicaId>),
}

impl Standing {
    /// The standing in one word.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Absent => "absent",
            Self::Ended(_) => "ended",
        }
    }
}

impl Shared {
    pub(super) fn incarnations(&self) -> Vec<Incarnation> {
        let state = self.read();
        let (map, own) = (state.replica.map(), state.replica.id());
        let members = state.replicator.members(&state.replica, self.now());
        let members: BTreeMap<ReplicaId, &Member> =
            members.iter().map(|member| (member.replica, member)).collect();
        let blocks = state.replicator.waits_for(&state.replica);
        let incarnation = |replica: ReplicaId| Incarnation {
            replica,
            region: map.record(replica).map_or_else(String::new, |record| record.region.clone()),
            standing: match members.get(&replica) {
                _ if map.is_ended(replica) => Standing::Ended(map.successor_of(replica)),
                Some(member) if member.live || replica == own => Standing::Live,
                _ => Standing::Absent,
            },
            holds_up_folding: blocks == Some(replica),
        };
        map.replicas().map(incarnation).collect()
    }

    pub(super) fn retire(&self, ended: ReplicaId, by_force: bool) -> Result<(), RetireError> {
        let mut guard = self.write();
        let state = &mut *guard;
        match by_force {
            true => state.replicator.force_retire(&mut state.replica, ended)?,
            false => state.replicator.retire(&mut state.replica, ended)?,
        }
        drop(guard);
        tracing::warn!("retired {ended} on request; taking over its counts");
        self.state_changed();
        self.wakes.local.notify_one();
        Ok(())
    }
}
