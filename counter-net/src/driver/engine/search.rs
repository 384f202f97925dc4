//! Routes between the search for peers, the address book and the replicator.

use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::Driver;
use crate::discovery::{DiscoveryOutcome, DiscoveryReport};
use crate::driver::address_book::{AddressOrigin, DialFailure, DialTarget, PeerNews};
use crate::network::node_id;
use crate::protocol::{Input, NodeId};

impl Driver {
    /// Handles one report of a discovery method.
    pub(super) fn on_discovery(&mut self, report: DiscoveryReport) {
        let now = self.shared.now();
        match report.outcome {
            DiscoveryOutcome::Found(addresses) => {
                self.search.answered(report.method);
                self.book.found(addresses, AddressOrigin::Found, now);
            }
            DiscoveryOutcome::Nobody => self.search.answered(report.method),
            DiscoveryOutcome::Gone(nodes) => self.incarnations.note_departed(nodes, now),
            DiscoveryOutcome::Unsure(reason) => self.search.unsure(report.method, reason),
        }
        self.follow_trouble();
    }

    pub(super) fn on_search_due(&mut self, now: Duration) {
        for node in self.search.take_late(now) {
            self.feed(Input::DialFailed { peer: node });
        }
    }

    /// Tells the replicator if the search has changed. A node does not call itself alone while
    /// another may still answer.
    pub(super) fn tell_search(&mut self) {
        let candidates = self.book.candidates(self.sessions.up_count());
        if let Some(search) = self.search.take_change(candidates, self.book.is_key_refused()) {
            self.feed(Input::Search(search));
        }
    }

    /// Dials a member for the replicator.
    pub(super) fn probe(&mut self, node: NodeId, addresses: &[Vec<u8>]) {
        let now = self.shared.now();
        let addresses: Vec<Multiaddr> =
            addresses.iter().filter_map(|bytes| Multiaddr::try_from(bytes.clone()).ok()).collect();
        let peer = addresses.iter().find_map(peer_of).filter(|peer| node_id(peer) == node);
        if let Some(peer) = peer.filter(|_| !self.isolated)
            && !self.swarm.is_connected(&peer)
            && self.book.want(peer, addresses, now)
        {
            self.search.probing(node, now);
        }
    }

    /// A peer spoke, so it is reached.
    pub(super) fn on_reached(&mut self, peer: PeerId) {
        self.search.probed(node_id(&peer));
        self.search.log_reached(&self.book.spoke(peer), self.shared.now());
        self.follow_trouble();
    }

    /// Notes a failed dial, logs it if it is news, and tells the replicator if it shows that a
    /// member is not there.
    pub(super) fn on_unreached(&mut self, target: &DialTarget, cause: DialFailure) {
        let is_absence = cause.is_absence();
        let now = self.shared.now();
        match self.book.failed(target, cause, now) {
            // A peer that has left is not expected to answer.
            Some(PeerNews::Unreached { .. }) if is_absence && self.has_left(target) => {}
            Some(news) => self.search.log_unreached(&news, now),
            None => {}
        }
        if let DialTarget::Peer(peer) = target
            && is_absence
        {
            let node = node_id(peer);
            self.search.probed(node);
            self.feed(Input::DialFailed { peer: node });
        }
        self.follow_trouble();
    }

    fn has_left(&self, target: &DialTarget) -> bool {
        let DialTarget::Peer(peer) = target else { return false };
        self.shared.read().replicator.has_left_node(node_id(peer))
    }

    /// Updates the sentences of [`NodeInfo::trouble`](crate::NodeInfo::trouble).
    pub(super) fn follow_trouble(&mut self) {
        let up = self.sessions.up_count();
        self.shared.set_troubles(self.search.troubles(&self.book.troubles(up), up == 0));
    }
}

fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    address.iter().find_map(|part| if let Protocol::P2p(peer) = part { Some(peer) } else { None })
}
