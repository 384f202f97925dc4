//! Who must agree before a life that ended is taken over, and those who are not listened to any more.

use counter_core::{Replica, ReplicaId, Version, VersionVector};

use super::input::NodeId;
use super::replicator::Replicator;

impl Replicator {
    /// The life of a peer sent its own digest.
    pub(super) fn shown(&mut self, replica: &Replica, peer: NodeId, generation: Option<u64>, digest: &VersionVector) {
        let Some(life) = self.life_heard(replica, peer, generation) else { return };
        self.snapshots.show(life, digest);
        if self.enrolment.wanted {
            self.enrolment.shown.entry(life).or_default().join(digest);
        }
    }

    /// Which enrolled replica speaks, if one does.
    pub(super) fn life_heard(&self, replica: &Replica, peer: NodeId, generation: Option<u64>) -> Option<ReplicaId> {
        let life = ReplicaId::new(peer.0, generation?);
        (life != self.own && replica.map().seen_of(life) > 0 && !replica.map().is_ended(life)).then_some(life)
    }

    /// Of the enrolled replicas, the first that is not known to hold this one's `upto` and every record that speaks of lives that ended, or that
    /// holds something which is not here. None where all agree.
    pub(super) fn first_without(&self, replica: &Replica, upto: Version) -> Option<ReplicaId> {
        replica.map().first_without(self.own, upto, |member| self.enrolment.shown.get(&member))
    }

    /// Connected peers whose digest does not yet show `upto` and every record that speaks of lives that ended.
    pub(super) fn behind(&self, replica: &Replica, upto: Version) -> Vec<NodeId> {
        let records: Vec<(ReplicaId, Version)> = replica.map().life_records().collect();
        let shows = |life: ReplicaId| {
            self.enrolment.shown.get(&life).is_some_and(|digest| {
                digest.get(self.own) >= upto && records.iter().all(|(writer, version)| digest.get(*writer) >= *version)
            })
        };
        let enrolled = replica.map().enrolled().filter(|&life| life != self.own && !shows(life));
        let mut nodes: Vec<NodeId> = enrolled.map(|life| NodeId(life.node)).filter(|node| self.sources.contains(*node)).collect();
        nodes.dedup();
        nodes
    }

    /// Whether a peer speaks as a life that has ended: nothing is taken from it but through members.
    pub(super) fn is_ended(&self, replica: &Replica, peer: NodeId, generation: Option<u64>) -> bool {
        generation.is_some_and(|generation| replica.map().is_ended(ReplicaId::new(peer.0, generation)))
    }

    /// The peer's digest, as it is now: what was folded here is no longer of interest.
    pub(super) fn hear(&mut self, replica: &Replica, peer: NodeId, mut digest: VersionVector) {
        digest.retain(|writer| !replica.map().is_folded(writer));
        if let Some(life) = self.members.get(peer).map(|entry| entry.replica) {
            self.confirmations.note_digest(life, &digest, self.now);
        }
        let lacks = self.shortfall(replica, &digest);
        self.sources.hear(peer, digest, lacks, self.now);
    }
}
