//! The versions that each enrolled replica has promised to keep.
//!
//! A replica's own digest is a promise: the replica holds and keeps the versions that it names. A
//! version is stable once all enrolled replicas have promised it. Only then is an ended incarnation
//! absorbed or folded, or a trace of a removal dropped.

use std::collections::BTreeMap;

use counter_core::{CounterMap, ProvenVersions, ReplicaId, Version, VersionVector};

/// The work that waits for promises.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum WaitingWork {
    /// The successor of an ended incarnation.
    Retirement,
    /// The writer of traces that removals and resets left.
    Removal,
}

/// The digests of enrolled replicas, as they sent them.
///
/// Invariant: digests are kept only while this node waits for others, and only of the enrolled.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    retirement_waits: bool,
    removal_waits: bool,
    by_member: BTreeMap<ReplicaId, VersionVector>,
    /// A replica that lacked something at the last check. It is checked first.
    missing: Option<ReplicaId>,
}

impl Promises {
    /// Notes whether `work` waits. Digests are kept only while some work does.
    pub(crate) fn want(&mut self, work: WaitingWork, waits: bool) {
        match work {
            WaitingWork::Retirement => self.retirement_waits = waits,
            WaitingWork::Removal => self.removal_waits = waits,
        }
        if !self.is_wanted() {
            self.by_member.clear();
        }
    }

    fn is_wanted(&self) -> bool {
        self.retirement_waits || self.removal_waits
    }

    /// The versions promised by every enrolled replica. `promised` is this node's own promise.
    /// `None` if one of them has promised nothing yet, or holds a replica that is unknown here.
    /// O(writers²).
    pub(crate) fn proven(
        &self,
        map: &CounterMap,
        own: ReplicaId,
        promised: VersionVector,
    ) -> Option<ProvenVersions> {
        let (mut by_all, mut by_any) = (promised.clone(), promised);
        for member in map.enrolled().filter(|member| *member != own) {
            let digest = self.by_member.get(&member)?;
            if digest.iter().any(|(writer, _)| map.counted_up_to(writer) == 0) {
                return None;
            }
            by_all = by_all.iter().map(|(id, seen)| (id, seen.min(digest.get(id)))).collect();
            by_any.join(digest);
        }
        Some(ProvenVersions { by_all, by_any })
    }

    /// The enrolled replicas that have not promised all of these versions.
    pub(crate) fn lacking(
        &self,
        map: &CounterMap,
        own: ReplicaId,
        versions: &VersionVector,
    ) -> Vec<ReplicaId> {
        let lacks = |member: &ReplicaId| {
            self.by_member.get(member).is_none_or(|digest| {
                versions
                    .iter()
                    .any(|(writer, upto)| digest.get(writer) < upto && !map.is_folded(writer))
            })
        };
        map.enrolled().filter(|member| *member != own && lacks(member)).collect()
    }

    /// An enrolled replica has promised to keep these versions.
    pub(crate) fn take_promise(&mut self, member: ReplicaId, digest: &VersionVector) {
        if self.is_wanted() {
            self.by_member.entry(member).or_default().join(digest);
        }
    }

    /// The promise of an enrolled replica so far.
    pub(crate) fn of(&self, member: ReplicaId) -> Option<&VersionVector> {
        self.by_member.get(&member)
    }

    /// Incarnations ended. Their digests no longer count, and no digest names folded writers.
    pub(crate) fn forget_ended(&mut self, map: &CounterMap) {
        self.by_member.retain(|member, _| !map.is_ended(*member) && map.seen_of(*member) > 0);
        self.by_member
            .values_mut()
            .for_each(|digest| digest.retain(|writer| !map.is_folded(writer)));
    }

    /// An enrolled replica other than `own` that has not promised `own` up to `upto` and every
    /// record about ended incarnations, or that holds cells that are not here. `None` if there is
    /// none, so the version is stable. O(writers) while it is the same one, O(writers²) otherwise.
    pub(crate) fn first_lacking_own(
        &mut self,
        map: &CounterMap,
        own: ReplicaId,
        upto: Version,
    ) -> Option<ReplicaId> {
        let Self { by_member, missing, .. } = self;
        let lacks = |member: ReplicaId| {
            by_member.get(&member).is_none_or(|digest| !map.agrees(own, upto, digest))
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
    pub(crate) fn lacking_own(
        &self,
        map: &CounterMap,
        own: ReplicaId,
        upto: Version,
    ) -> Vec<ReplicaId> {
        let records: Vec<(ReplicaId, Version)> = map.incarnation_records().collect();
        let shows = |incarnation: &ReplicaId| {
            self.by_member.get(incarnation).is_some_and(|digest| {
                digest.get(own) >= upto
                    && records.iter().all(|(writer, version)| digest.get(*writer) >= *version)
            })
        };
        map.enrolled().filter(|incarnation| *incarnation != own && !shows(incarnation)).collect()
    }
}
