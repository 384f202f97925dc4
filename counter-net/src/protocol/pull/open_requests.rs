//! The requests that have no answer yet, and what each asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_core::{ReplicaId, Version};

use crate::protocol::input::NodeId;
use crate::protocol::stats::Kind;

/// A request that has no answer yet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct OpenRequest {
    pub peer: NodeId,
    pub asked: Asked,
    /// The incarnation of this node that asked.
    pub asker: ReplicaId,
    pub sent: Duration,
}

/// The kind of a request, and what its answer is compared with.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    Compare {
        /// Hash of the version vector that was compared.
        seen: u128,
    },
    Ask {
        /// Cells were asked for too, and not only the digest.
        cells: bool,
    },
    Pull,
    Tell,
    /// How much of this replica the peer holds.
    Ack {
        /// This replica's version at that time.
        version: Version,
    },
    /// Which targets the peer and others have confirmed.
    Confirm,
    /// Nothing. The request brings a further part of this node's digest.
    Digest,
    /// Which incarnations of this node the peer knows.
    Number,
}

impl Asked {
    /// True if the answer carries the peer's digest.
    pub(crate) fn tells_digest(self) -> bool {
        matches!(self, Asked::Compare { .. } | Asked::Ask { .. } | Asked::Tell)
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Asked::Compare { .. } => Kind::Compare,
            Asked::Ask { .. } => Kind::Ask,
            Asked::Pull => Kind::Pull,
            Asked::Tell => Kind::Tell,
            Asked::Ack { .. } => Kind::Hold,
            Asked::Confirm => Kind::Confirm,
            Asked::Digest => Kind::Digest,
            Asked::Number => Kind::Number,
        }
    }
}

/// Every open request, by its id.
///
/// Invariant: each has a timer, [`Timer::Request`](crate::protocol::context::Timer), so none
/// stays open for longer than the request timeout.
#[derive(Debug, Default)]
pub(crate) struct OpenRequests {
    by_id: BTreeMap<u64, OpenRequest>,
}

impl OpenRequests {
    pub(super) fn insert(&mut self, id: u64, request: OpenRequest) {
        self.by_id.insert(id, request);
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<OpenRequest> {
        self.by_id.remove(&id)
    }

    /// The request of this id, if that peer was asked.
    pub(super) fn get(&self, id: u64, peer: NodeId) -> Option<OpenRequest> {
        self.by_id.get(&id).copied().filter(|request| request.peer == peer)
    }

    /// The ids of all that a peer was asked.
    pub(super) fn of_peer(&self, peer: NodeId) -> Vec<u64> {
        let is_its = |(_, request): &(&u64, &OpenRequest)| request.peer == peer;
        self.by_id.iter().filter(is_its).map(|(id, _)| *id).collect()
    }

    /// How many open requests of this kind a peer has.
    pub(super) fn count(&self, peer: NodeId, test: impl Fn(Asked) -> bool) -> usize {
        self.by_id.values().filter(|request| request.peer == peer && test(request.asked)).count()
    }

    /// When the oldest open ask for cells was sent.
    pub(super) fn cells_asked(&self) -> Option<Duration> {
        let asks_cells = |request: &&OpenRequest| request.asked == Asked::Ask { cells: true };
        self.by_id.values().filter(asks_cells).map(|request| request.sent).min()
    }
}
