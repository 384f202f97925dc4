//! The index of ended incarnations, built from the records of all replicas: who claims them, who
//! absorbs them, and which are folded.

use std::collections::{BTreeMap, BTreeSet};

use crate::incarnation::record::{Folded, Record};
use crate::replica_id::ReplicaId;

type ByEnded = BTreeMap<ReplicaId, Vec<ReplicaId>>;

/// All claims, absorptions and folds in the held records. It is rebuilt whenever a record changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Incarnations {
    /// By ended incarnation, the replicas that claim it, ascending. Empty if the claim was lost
    /// with its writer and another replica has begun to absorb the incarnation.
    claimants: ByEnded,
    /// By ended incarnation, the replicas that have begun to absorb it, ascending. There is more
    /// than one if a successor ended and its own successor absorbs both.
    absorbers: ByEnded,
    /// By node, the latest incarnation that was folded.
    folded: BTreeMap<u64, u64>,
}

impl Incarnations {
    pub(crate) fn of<'a>(records: impl Iterator<Item = (ReplicaId, &'a Record)>) -> Self {
        let mut incarnations = Self::default();
        for (writer, record) in records {
            for &Folded { node, upto } in record.folds() {
                let latest = incarnations.folded.entry(node).or_default();
                *latest = upto.max(*latest);
            }
            for &ended in record.claims().iter().filter(|&&ended| ended != writer) {
                incarnations.claimants.entry(ended).or_default().push(writer);
            }
            for &ended in record.absorbing().iter().filter(|&&ended| ended != writer) {
                incarnations.absorbers.entry(ended).or_default().push(writer);
                incarnations.claimants.entry(ended).or_default();
            }
        }
        incarnations
    }

    /// The latest incarnation of a node that a fold covers.
    pub(crate) fn last_folded(&self, node: u64) -> Option<ReplicaId> {
        self.folded.get(&node).map(|upto| ReplicaId::new(node, *upto))
    }

    /// True if a fold covers this incarnation. O(log nodes).
    pub(crate) fn is_folded(&self, replica: ReplicaId) -> bool {
        let Folded { node, upto } = Folded::of(replica);
        !self.folded.is_empty() && self.folded.get(&node).is_some_and(|&latest| upto <= latest)
    }

    /// True if a replica claims or absorbs this incarnation, or it was folded. O(log incarnations).
    pub(crate) fn is_ended(&self, replica: ReplicaId) -> bool {
        self.claimants.contains_key(&replica) || self.is_folded(replica)
    }

    /// False if this incarnation or a later one of its node has ended. O(log incarnations).
    pub(crate) fn may_write(&self, replica: ReplicaId) -> bool {
        let latest = ReplicaId { incarnation: u64::MAX, ..replica };
        !self.is_folded(replica) && self.claimants.range(replica..=latest).next().is_none()
    }

    /// Every incarnation that some replica claims or absorbs, ascending.
    pub(crate) fn claimed(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.claimants.keys().copied()
    }

    /// The replicas that have begun to absorb an incarnation, ascending.
    pub(crate) fn absorbers_of(&self, ended: ReplicaId) -> &[ReplicaId] {
        self.absorbers.get(&ended).map_or(&[], Vec::as_slice)
    }

    /// See [`CounterMap::successor_of`](crate::CounterMap::successor_of).
    pub(crate) fn successor_of(&self, ended: ReplicaId) -> Option<ReplicaId> {
        let (mut incarnation, mut met) = (ended, BTreeSet::new());
        while met.insert(incarnation) {
            let of = |replicas: &ByEnded| replicas.get(&incarnation).cloned().unwrap_or_default();
            let begun = of(&self.absorbers);
            if let Some(&successor) = begun.iter().find(|&&other| !self.is_ended(other)) {
                return Some(successor);
            }
            if let Some(&other) = begun.first() {
                incarnation = other;
                continue;
            }
            let claimants = of(&self.claimants);
            if let Some(&successor) = claimants.iter().find(|&&other| !self.is_ended(other)) {
                return Some(successor);
            }
            incarnation = claimants.into_iter().rev().find(|other| {
                other.node == incarnation.node && other.incarnation > incarnation.incarnation
            })?;
        }
        None
    }
}
