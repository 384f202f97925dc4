//! Holds back answers and own cells until this node's disk names the replicas that will hold them.
//!
//! After a crash a node goes back to its last commit. If that names nobody, and nobody answers, the
//! node takes over its own earlier incarnation as its disk has it. Cells that another replica held
//! beyond that would be lost. So the first request of a newcomer is answered after the next commit,
//! and a node publishes nothing until its disk names another live replica. Through that replica it
//! learns of all others before it takes over anything.

use std::collections::VecDeque;

use counter_core::{Replica, ReplicaId, VersionVector};

use crate::protocol::input::NodeId;
use crate::protocol::output::Refusal;
use crate::protocol::replicator::Replicator;
use crate::protocol::stats::Kind;
use crate::protocol::wire;
use crate::protocol::wire::Response;

/// The most requests that wait for a commit. Further ones are refused, and their senders try again.
pub(crate) const DEFERRED_MAX: usize = 256;

/// One request that waits.
#[derive(Debug)]
struct Waiting {
    peer: NodeId,
    id: u64,
    payload: Vec<u8>,
    requester: ReplicaId,
}

/// Every request that waits for a commit, in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Deferred(VecDeque<Waiting>);

impl Deferred {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a request in; false where there is no room.
    pub(crate) fn put(
        &mut self,
        peer: NodeId,
        id: u64,
        payload: &[u8],
        requester: ReplicaId,
    ) -> bool {
        let has_room = self.0.len() < DEFERRED_MAX;
        if has_room {
            self.0.push_back(Waiting { peer, id, payload: payload.to_vec(), requester });
        }
        has_room
    }

    /// Removes the requests that `wanted` selects, and returns them in order of arrival.
    fn take(&mut self, wanted: impl Fn(&Waiting) -> bool) -> VecDeque<Waiting> {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(wanted);
        self.0 = left;
        taken
    }
}

impl Replicator {
    /// Whether something waits for a commit: it goes out with the next
    /// [`Input::LocalChange`](crate::protocol::Input::LocalChange).
    pub fn awaits_commit(&self) -> bool {
        !self.deferred.is_empty() || self.held_back
    }

    /// Whether own cells may be published: the disk names somebody else who has not ended, or
    /// nobody is there.
    pub(crate) fn may_publish(&mut self, replica: &Replica) -> bool {
        let names_another = |on_disk: &VersionVector| {
            replica
                .map()
                .enrolled()
                .any(|other| other.node != self.own.node && on_disk.get(other) > 0)
        };
        self.held_back = !self.sources.is_empty()
            && self.committed.promised().is_some_and(|on_disk| !names_another(on_disk));
        !self.held_back
    }

    /// The peer is gone: its requests are refused, so that the driver keeps none of them.
    pub(crate) fn refuse_deferred(&mut self, peer: NodeId) {
        for Waiting { id, .. } in self.deferred.take(|waiting| waiting.peer == peer) {
            self.out.respond(peer, id, Kind::Other, &Response::refused(Refusal::NotRecorded));
        }
    }

    /// Whether the record of a replica would survive a crash.
    pub(crate) fn is_kept(&self, replica: &Replica, requester: ReplicaId) -> bool {
        let record = replica.map().record(requester).map_or(0, |record| record.version);
        self.committed.promised().is_none_or(|on_disk| on_disk.get(requester) >= record)
    }

    /// Answers the requests whose senders' records have reached the disk.
    pub(crate) fn serve_deferred(&mut self, replica: &mut Replica) {
        if self.deferred.is_empty() {
            return;
        }
        let mut deferred = std::mem::take(&mut self.deferred);
        let kept = deferred.take(|waiting| self.is_kept(replica, waiting.requester));
        self.deferred = deferred;
        for Waiting { peer, id, payload, .. } in kept {
            self.answer(replica, peer, id, &payload, wire::decode(&payload, usize::MAX));
        }
    }
}
