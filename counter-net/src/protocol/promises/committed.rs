//! The part of the state that is on disk, and the work that waits until more of it is.
//!
//! After a crash a node is back at its last commit. So a digest promises only the committed part,
//! and two things wait for a commit. A newcomer's first request is answered once the disk names the
//! newcomer. A node publishes nothing until its disk names another live replica, through which it
//! would learn of all others. Without these waits a restarted node might know nobody. It would take
//! over its own earlier incarnation in the state that the disk has, and lose the cells that others
//! already held.

use std::collections::VecDeque;

use counter_core::{CounterMap, ReplicaId, Version, VersionVector};

use crate::protocol::interface::NodeId;

/// The most requests that wait for a commit. Further ones are refused, and their senders try again.
const DEFERRED_MAX: usize = 256;

/// A request that waits until the disk names its sender.
#[derive(Debug)]
pub(crate) struct DeferredRequest {
    pub peer: NodeId,
    pub id: u64,
    pub payload: Vec<u8>,
    requester: ReplicaId,
}

/// The committed versions, and the work that waits for a commit. Without a store everything counts
/// as committed.
///
/// Invariant: `on_disk` never names a version that the disk does not hold.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    on_disk: Option<VersionVector>,
    /// In order of arrival.
    deferred: VecDeque<DeferredRequest>,
    /// Own cells wait for a commit.
    is_publishing_held: bool,
}

impl Committed {
    /// There is a store, and it holds these versions.
    pub(crate) fn follow(&mut self, on_disk: VersionVector) {
        self.on_disk = Some(on_disk);
    }

    /// A commit wrote this writer up to this version.
    pub(crate) fn note(&mut self, writer: ReplicaId, upto: Version) {
        if let Some(on_disk) = &mut self.on_disk {
            on_disk.raise(writer, upto);
        }
    }

    /// Forgets writers that digests no longer name.
    pub(crate) fn retain(&mut self, keep: impl FnMut(ReplicaId) -> bool) {
        if let Some(on_disk) = &mut self.on_disk {
            on_disk.retain(keep);
        }
    }

    /// The versions that this node promises to keep, or `None` if it keeps all that it holds.
    pub(crate) fn promised(&self) -> Option<&VersionVector> {
        self.on_disk.as_ref()
    }

    /// How many of the versions in `held` are not committed, by writer. O(writers log writers).
    pub(crate) fn uncommitted(&self, held: &VersionVector) -> VersionVector {
        let Some(on_disk) = &self.on_disk else { return VersionVector::new() };
        held.iter()
            .map(|(writer, version)| (writer, version.saturating_sub(on_disk.get(writer))))
            .collect()
    }

    /// True if a replica's record would survive a crash.
    pub(crate) fn keeps(&self, map: &CounterMap, replica: ReplicaId) -> bool {
        let record = map.record(replica).map_or(0, |record| record.version);
        self.promised().is_none_or(|on_disk| on_disk.get(replica) >= record)
    }

    /// True if `own` may publish its cells: no peer is connected, or the disk names another node's
    /// replica that has not ended. If false, the cells wait for the next commit.
    pub(crate) fn may_publish(
        &mut self,
        map: &CounterMap,
        own: ReplicaId,
        has_peers: bool,
    ) -> bool {
        let names_another = |on_disk: &VersionVector| {
            map.enrolled().any(|other| other.node != own.node && on_disk.get(other) > 0)
        };
        self.is_publishing_held =
            has_peers && self.promised().is_some_and(|on_disk| !names_another(on_disk));
        !self.is_publishing_held
    }

    /// True if something waits for a commit.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.deferred.is_empty() || self.is_publishing_held
    }

    /// Defers a request until the disk names `requester`. False if there is no room.
    pub(crate) fn defer(
        &mut self,
        peer: NodeId,
        id: u64,
        payload: &[u8],
        requester: ReplicaId,
    ) -> bool {
        let has_room = self.deferred.len() < DEFERRED_MAX;
        if has_room {
            let payload = payload.to_vec();
            self.deferred.push_back(DeferredRequest { peer, id, payload, requester });
        }
        has_room
    }

    /// Takes the requests whose senders the disk names now, in order of arrival.
    pub(crate) fn take_kept(&mut self, map: &CounterMap) -> VecDeque<DeferredRequest> {
        let (kept, left) = std::mem::take(&mut self.deferred)
            .into_iter()
            .partition(|request| self.keeps(map, request.requester));
        self.deferred = left;
        kept
    }

    /// Takes the requests of one peer, in order of arrival.
    pub(crate) fn take_of(&mut self, peer: NodeId) -> VecDeque<DeferredRequest> {
        let (taken, left) = std::mem::take(&mut self.deferred)
            .into_iter()
            .partition(|request| request.peer == peer);
        self.deferred = left;
        taken
    }
}

/// The committed part of another node's digest. `uncommitted` counts the versions of each writer
/// that are not on that node's disk.
pub(crate) fn committed_part(have: &VersionVector, uncommitted: &VersionVector) -> VersionVector {
    have.iter()
        .map(|(writer, version)| (writer, version.saturating_sub(uncommitted.get(writer))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_committed_versions_are_promised() {
        let vector = |entries: &[(u64, u64)]| {
            entries.iter().map(|(node, version)| (ReplicaId::new(*node, 1), *version)).collect()
        };
        let held: VersionVector = vector(&[(1, 5), (2, 3), (3, 1)]);
        let mut committed = Committed::default();
        assert!(committed.uncommitted(&held).is_empty(), "without a store all is promised");
        committed.follow(vector(&[(1, 2)]));
        committed.note(ReplicaId::new(2, 1), 3);
        let uncommitted = committed.uncommitted(&held);
        assert_eq!(uncommitted, vector(&[(1, 3), (3, 1)]));
        assert_eq!(committed_part(&held, &uncommitted), vector(&[(1, 2), (2, 3)]));
    }
}
