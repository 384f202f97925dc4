//! The requests that have no answer yet, and what each asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_core::{ReplicaId, Version};

use crate::protocol::context::{Context, Timer};
use crate::protocol::interface::{MessageKind, NodeId};
use crate::protocol::wire::Request;

/// A request that has no answer yet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct OpenRequest {
    pub peer: NodeId,
    pub asked: Asked,
    /// The incarnation of this node that asked.
    pub asker: ReplicaId,
    pub sent: Duration,
}

/// The kind of a request, and the data that its answer is checked against.
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
    /// Nothing is asked. The request brings a further part of this node's digest.
    Digest,
    /// The latest incarnation of this node that the peer knows.
    Number,
}

impl Asked {
    /// True if the answer carries the peer's digest.
    pub(crate) fn tells_digest(self) -> bool {
        matches!(self, Asked::Compare { .. } | Asked::Ask { .. } | Asked::Tell)
    }

    pub(crate) fn kind(self) -> MessageKind {
        match self {
            Asked::Compare { .. } => MessageKind::Compare,
            Asked::Ask { .. } => MessageKind::Ask,
            Asked::Pull => MessageKind::Pull,
            Asked::Tell => MessageKind::Tell,
            Asked::Ack { .. } => MessageKind::Ack,
            Asked::Confirm => MessageKind::Confirm,
            Asked::Digest => MessageKind::Digest,
            Asked::Number => MessageKind::Number,
        }
    }
}

/// Every open request, by its id.
///
/// Invariant: each has a timer, [`Timer::Request`], so none stays open for longer than the request
/// timeout.
#[derive(Debug, Default)]
pub(super) struct OpenRequests {
    by_id: BTreeMap<u64, OpenRequest>,
}

impl OpenRequests {
    /// Sends a request, and keeps it open until it is closed.
    pub(super) fn send(&mut self, ctx: &mut Context, peer: NodeId, asked: Asked, what: &Request) {
        let id = ctx.out.request(peer, asked.kind(), what);
        self.by_id.insert(id, OpenRequest { peer, asked, asker: ctx.own, sent: ctx.now });
        ctx.timers.set(Timer::Request(id), ctx.now + ctx.config.request_timeout);
    }

    /// Closes a request, with its timer.
    pub(super) fn close(&mut self, ctx: &mut Context, id: u64) -> Option<OpenRequest> {
        ctx.timers.cancel(Timer::Request(id));
        self.by_id.remove(&id)
    }

    /// Closes all requests to a peer.
    pub(super) fn close_all_of(&mut self, ctx: &mut Context, peer: NodeId) {
        let is_its = |(_, request): &(&u64, &OpenRequest)| request.peer == peer;
        let ids: Vec<u64> = self.by_id.iter().filter(is_its).map(|(id, _)| *id).collect();
        for id in ids {
            self.close(ctx, id);
        }
    }

    pub(super) fn get(&self, id: u64) -> Option<&OpenRequest> {
        self.by_id.get(&id)
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
