//! Incarnations of nodes as they count for retirement: enrolled until somebody claims them,
//! forgotten once they are folded.

use std::collections::BTreeMap;

use counter_core::ReplicaId;

use crate::protocol::{Member, RetireError};
use crate::shared::Shared;

/// One incarnation of one node, of which this node holds something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Incarnation {
    /// The incarnation.
    pub replica: ReplicaId,
    /// Where it runs, or ran.
    pub region: String,
    /// What is known of it.
    pub standing: Standing,
    /// This node takes over incarnations that ended, and waits for this one to show that it knows:
    /// it holds up folding, which costs bytes and no count.
    pub holds_up_folding: bool,
}

/// How an incarnation stands towards the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// Heard of within its time.
    Live,
    /// Enrolled and not heard of: it stopped, crashed or is out of reach. Its next incarnation,
    /// from the same data directory, takes it over; [`Node::retire`](crate::Node::retire) does
    /// where there will be none.
    Absent,
    /// Its end is on record: this replica takes over what it counted, and then it is forgotten.
    /// None where the successor ended too and has none yet.
    Ended(Option<ReplicaId>),
}

impl Standing {
    /// In one word.
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
        tracing::warn!(%ended, "an operator retires this incarnation: this node takes it over");
        self.state_changed();
        self.wakes.local.notify_one();
        Ok(())
    }
}
