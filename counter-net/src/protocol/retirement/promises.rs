//! What each enrolled replica has shown to hold, before an ended incarnation is absorbed or folded.
//!
//! A digest that a replica sent itself is a promise: what it names, that replica holds and keeps.
//! Invariant: digests are kept only while this node waits for others, and only of the enrolled.

use std::collections::BTreeMap;

use counter_core::{CounterMap, ReplicaId, Version, VersionVector};

/// The digests of enrolled replicas, as they sent them.
#[derive(Debug, Default)]
pub(super) struct Promises {
    is_wanted: bool,
    shown: BTreeMap<ReplicaId, VersionVector>,
    /// Who did not agree at the last look: looked at first.
    missing: Option<ReplicaId>,
}

impl Promises {
    /// Whether digests are to be kept from now on.
    pub(super) fn want(&mut self, is_wanted: bool) {
        self.is_wanted = is_wanted;
        if !is_wanted {
            self.shown.clear();
        }
    }

    /// An enrolled replica has shown this.
    pub(super) fn show(&mut self, member: ReplicaId, digest: &VersionVector) {
        if self.is_wanted {
            self.shown.entry(member).or_default().join(digest);
        }
    }

    /// What an enrolled replica has shown so far.
    pub(super) fn shown(&self, member: ReplicaId) -> Option<&VersionVector> {
        self.shown.get(&member)
    }

    /// Incarnations ended: their digests do not count any more, and nobody names what was folded.
    pub(super) fn forget_ended(&mut self, map: &CounterMap) {
        self.shown.retain(|member, _| !map.is_ended(*member) && map.seen_of(*member) > 0);
        self.shown.values_mut().for_each(|digest| digest.retain(|writer| !map.is_folded(writer)));
    }

    /// Of the enrolled replicas but `own`, one that is not known to hold `own` up to `upto` and
    /// every record that speaks of incarnations that ended, or that holds something which is not
    /// here. None where all agree. O(writers) while the same one is missing, O(writers²) else.
    pub(super) fn first_without(
        &mut self,
        map: &CounterMap,
        own: ReplicaId,
        upto: Version,
    ) -> Option<ReplicaId> {
        let Self { shown, missing, .. } = self;
        let lacks = |member: ReplicaId| {
            shown.get(&member).is_none_or(|digest| !map.agrees(own, upto, digest))
        };
        let is_enrolled = |member: &ReplicaId| map.seen_of(*member) > 0 && !map.is_ended(*member);
        if let Some(same) = missing.filter(is_enrolled).filter(|member| lacks(*member)) {
            return Some(same);
        }
        *missing = map.enrolled().find(|member| *member != own && lacks(*member));
        *missing
    }

    /// Of the enrolled replicas, all that were not shown to hold `own` up to `upto` and every
    /// record that speaks of incarnations that ended. O(writers²).
    pub(super) fn behind(&self, map: &CounterMap, own: ReplicaId, upto: Version) -> Vec<ReplicaId> {
        let records: Vec<(ReplicaId, Version)> = map.incarnation_records().collect();
        let shows = |incarnation: &ReplicaId| {
            self.shown.get(incarnation).is_some_and(|digest| {
                digest.get(own) >= upto
                    && records.iter().all(|(writer, version)| digest.get(*writer) >= *version)
            })
        };
        map.enrolled().filter(|incarnation| *incarnation != own && !shows(incarnation)).collect()
    }
}
