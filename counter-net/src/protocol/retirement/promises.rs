//! The versions that each enrolled replica has promised to keep.
//!
//! A digest that a replica sends itself is a promise: it holds and keeps what the digest names. A
//! version is stable once all enrolled replicas have promised it. Only then is an ended incarnation
//! absorbed or folded.

use std::collections::BTreeMap;

use counter_core::{CounterMap, ReplicaId, Version, VersionVector};

/// The digests of enrolled replicas, as they sent them.
///
/// Invariant: digests are kept only while this node waits for others, and only of the enrolled.
#[derive(Debug, Default)]
pub(super) struct Promises {
    is_wanted: bool,
    shown: BTreeMap<ReplicaId, VersionVector>,
    /// A replica that lacked something at the last look. It is looked at first.
    missing: Option<ReplicaId>,
}

impl Promises {
    /// Keeps digests from now on, or no more.
    pub(super) fn want(&mut self, is_wanted: bool) {
        self.is_wanted = is_wanted;
        if !is_wanted {
            self.shown.clear();
        }
    }

    /// An enrolled replica has sent this digest.
    pub(super) fn show(&mut self, member: ReplicaId, digest: &VersionVector) {
        if self.is_wanted {
            self.shown.entry(member).or_default().join(digest);
        }
    }

    /// The promise of an enrolled replica so far.
    pub(super) fn shown(&self, member: ReplicaId) -> Option<&VersionVector> {
        self.shown.get(&member)
    }

    /// Incarnations ended. Their digests no longer count, and no digest names folded writers.
    pub(super) fn forget_ended(&mut self, map: &CounterMap) {
        self.shown.retain(|member, _| !map.is_ended(*member) && map.seen_of(*member) > 0);
        self.shown.values_mut().for_each(|digest| digest.retain(|writer| !map.is_folded(writer)));
    }

    /// An enrolled replica other than `own` that has not promised `own` up to `upto` and every
    /// record about ended incarnations, or that holds something which is not here. `None` if there
    /// is none, so the version is stable. O(writers) while it is the same one, O(writers²)
    /// otherwise.
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

    /// All enrolled replicas that have not promised `own` up to `upto` and every record about ended
    /// incarnations. O(writers²).
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
