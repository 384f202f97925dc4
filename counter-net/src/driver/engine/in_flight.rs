//! Network operations that have begun and have not ended yet.

use std::collections::HashMap;

use libp2p::PeerId;
use libp2p::gossipsub::MessageId;
use libp2p::request_response::{OutboundRequestId, ResponseChannel};
use libp2p::swarm::ConnectionId;

use crate::driver::address_book::DialTarget;
use crate::protocol::NodeId;

/// Dials, requests in both directions, and gossip to be judged. Each is taken out once.
///
/// Dials are bounded by the address book and requests by the replicator's pulls, each with a
/// timeout. The replicator answers requests and judges gossip before the next event, except for a
/// few requests that wait for a commit.
#[derive(Default)]
pub(super) struct InFlight {
    dials: HashMap<ConnectionId, DialTarget>,
    sent: HashMap<OutboundRequestId, (NodeId, u64)>,
    received: HashMap<u64, ResponseChannel<Vec<u8>>>,
    gossip: HashMap<u64, (MessageId, PeerId)>,
    last_token: u64,
}

impl InFlight {
    /// A connection is being dialled for this entry of the address book.
    pub(super) fn dialling(&mut self, connection: ConnectionId, target: DialTarget) {
        self.dials.insert(connection, target);
    }

    /// The dial ended. Returns its entry, or `None` if the far end dialled.
    pub(super) fn dial_ended(&mut self, connection: ConnectionId) -> Option<DialTarget> {
        self.dials.remove(&connection)
    }

    /// A request was sent, which the replicator knows by node and number.
    pub(super) fn asked(&mut self, request: OutboundRequestId, node: NodeId, number: u64) {
        self.sent.insert(request, (node, number));
    }

    /// The request was answered or failed. Returns its node and number.
    pub(super) fn answered(&mut self, request: OutboundRequestId) -> Option<(NodeId, u64)> {
        self.sent.remove(&request)
    }

    /// A peer's request came in. Returns its token.
    pub(super) fn owe(&mut self, channel: ResponseChannel<Vec<u8>>) -> u64 {
        let token = self.token();
        self.received.insert(token, channel);
        token
    }

    /// Takes the channel for the answer to a peer's request.
    pub(super) fn take_owed(&mut self, token: u64) -> Option<ResponseChannel<Vec<u8>>> {
        self.received.remove(&token)
    }

    /// A gossip message came from `peer`. Returns its token.
    pub(super) fn judge(&mut self, message: MessageId, peer: PeerId) -> u64 {
        let token = self.token();
        self.gossip.insert(token, (message, peer));
        token
    }

    /// Takes the gossip message that was judged.
    pub(super) fn take_judged(&mut self, token: u64) -> Option<(MessageId, PeerId)> {
        self.gossip.remove(&token)
    }

    fn token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }
}
