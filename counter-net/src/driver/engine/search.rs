//! Tracks the search for peers, and reports it to the replicator, the log and the operator.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::Driver;
use crate::discovery::{Discovery, DiscoveryOutcome, DiscoveryReport};
use crate::driver::address_book::{AddressOrigin, DialFailure, DialTarget, PeerNews};
use crate::network::node_id;
use crate::protocol::{Input, NodeId, Search};
use crate::shared::Trouble;

/// How long to wait for an answer to multicast. Nodes of one network segment answer within 100 ms.
const MULTICAST_WINDOW: Duration = Duration::from_millis(500);
/// How long a dial may take before the member is suspected. The handshake takes 4 round trips,
/// which is 1.3 s at 320 ms.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The most log lines about changes of peers in each [`LOG_INTERVAL`].
const LOG_LINES_MAX: usize = 12;
const LOG_INTERVAL: Duration = Duration::from_secs(300);

/// The answer of each way of discovery, and the members that are being probed.
pub(super) struct PeerSearch {
    /// Ways of discovery that have not answered yet, each with the reason.
    unanswered: BTreeMap<usize, String>,
    /// Multicast, until its window is over. It has no task of its own.
    multicast: Option<usize>,
    /// Members dialled for the replicator, each with its deadline. Bounded by the members.
    probes: BTreeMap<NodeId, Duration>,
    reported: Search,
    lines: LogBudget,
    /// When the next caller with another key is logged.
    next_caller_line: Duration,
    /// Fingerprints of this node's cluster keys, the preferred key's first.
    key_fingerprints: Vec<String>,
}

/// Keeps the log short when peers come and go without end.
#[derive(Default)]
struct LogBudget {
    since: Duration,
    written: usize,
    left_out: usize,
}

impl LogBudget {
    /// Returns true if one more line may be written at `now`.
    fn take(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.since) >= LOG_INTERVAL {
            if self.left_out > 0 {
                tracing::warn!(
                    "{} more changes of peers were not logged; `Node::members` and \
                     `NodeInfo::trouble` are current",
                    self.left_out
                );
            }
            *self = Self { since: now, ..Self::default() };
        }
        let room = self.written < LOG_LINES_MAX;
        if room {
            self.written += 1;
        } else {
            self.left_out += 1;
        }
        room
    }
}

impl PeerSearch {
    pub(super) fn new(ways: &[Discovery], key_fingerprints: Vec<String>) -> Self {
        let asks = |way: &Discovery| *way != Discovery::None;
        let unanswered = ways
            .iter()
            .enumerate()
            .filter(|(_, way)| asks(way))
            .map(|(at, _)| (at, String::new()))
            .collect();
        let multicast = ways.iter().position(|way| *way == Discovery::Mdns);
        Self {
            unanswered,
            multicast,
            probes: BTreeMap::new(),
            reported: Search::default(),
            lines: LogBudget::default(),
            next_caller_line: Duration::ZERO,
            key_fingerprints,
        }
    }

    fn answered(&mut self, way: usize) {
        self.unanswered.remove(&way);
    }
}

impl Driver {
    /// Handles one report of a way of discovery.
    pub(super) fn on_discovery(&mut self, report: DiscoveryReport) {
        match report.outcome {
            DiscoveryOutcome::Found(addresses) => {
                self.search.answered(report.way);
                self.book.found(addresses, AddressOrigin::Found, self.shared.now());
            }
            DiscoveryOutcome::Nobody => self.search.answered(report.way),
            DiscoveryOutcome::Gone(nodes) => self.departed.note(nodes, self.shared.now()),
            // An earlier answer stands.
            DiscoveryOutcome::Unsure(reason) => {
                if let Some(known) = self.search.unanswered.get_mut(&report.way) {
                    *known = reason;
                }
            }
        }
        self.follow_trouble();
    }

    /// When the next probe or the multicast window ends.
    pub(super) fn search_due(&self) -> Option<Duration> {
        let window = self.search.multicast.map(|_| MULTICAST_WINDOW);
        self.search.probes.values().copied().chain(window).min()
    }

    pub(super) fn on_search_due(&mut self, now: Duration) {
        if now >= MULTICAST_WINDOW
            && let Some(way) = self.search.multicast.take()
        {
            self.search.answered(way);
        }
        let late: Vec<NodeId> = self
            .search
            .probes
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(node, _)| *node)
            .collect();
        for node in late {
            self.search.probes.remove(&node);
            self.feed(Input::DialFailed { peer: node });
        }
    }

    /// Tells the replicator if the search has changed. A node does not call itself alone while
    /// another may still answer.
    pub(super) fn tell_search(&mut self) {
        let search = Search {
            candidates: self.book.candidates(self.sessions.up_count()),
            unsure: !self.search.unanswered.is_empty(),
            key_refused: self.book.is_key_refused(),
        };
        if search != self.search.reported {
            self.search.reported = search;
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
            self.search.probes.insert(node, now + PROBE_TIMEOUT);
        }
    }

    /// A peer spoke, so it is reached.
    pub(super) fn on_reached(&mut self, peer: PeerId) {
        self.search.probes.remove(&node_id(&peer));
        let now = self.shared.now();
        for peer in self.book.spoke(peer) {
            if self.search.lines.take(now) {
                tracing::info!("peer {peer} is reached again");
            }
        }
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
            Some(_) if !self.search.lines.take(now) => {}
            Some(PeerNews::Unreached { peer, cause }) => {
                tracing::warn!("cannot join {peer}: {}; retrying", self.in_words(&cause))
            }
            Some(PeerNews::NoneReached { addresses, last, cause }) => {
                tracing::warn!(
                    "no node answered at {addresses} discovered addresses; best attempt {last}: \
                     {}; retrying",
                    self.in_words(&cause)
                );
            }
            None => {}
        }
        if let DialTarget::Peer(peer) = target
            && is_absence
        {
            let node = node_id(peer);
            self.search.probes.remove(&node);
            self.feed(Input::DialFailed { peer: node });
        }
        self.follow_trouble();
    }

    /// Logs a caller with another cluster key, at most once in [`LOG_INTERVAL`].
    pub(super) fn note_foreign_caller(&mut self, from: &Multiaddr) {
        let now = self.shared.now();
        if now >= self.search.next_caller_line {
            self.search.next_caller_line = now + LOG_INTERVAL;
            tracing::warn!(
                "refused a connection from {from}: different cluster key; {}",
                self.own_fingerprints()
            );
        }
    }

    fn has_left(&self, target: &DialTarget) -> bool {
        let DialTarget::Peer(peer) = target else { return false };
        self.shared.read().replicator.has_left_node(node_id(peer))
    }

    fn in_words(&self, cause: &DialFailure) -> String {
        match cause {
            DialFailure::WrongKey if self.search.key_fingerprints.is_empty() => {
                "the far end has a cluster key, and this node has none: set the same cluster key \
                 on every node"
                    .to_owned()
            }
            DialFailure::WrongKey => format!(
                "{cause}: set the same cluster key on every node; {}",
                self.own_fingerprints()
            ),
            _ => cause.to_string(),
        }
    }

    fn own_fingerprints(&self) -> String {
        match self.search.key_fingerprints.as_slice() {
            [] => "this node has no key".to_owned(),
            [one] => format!("this node's key has fingerprint {one}"),
            several => format!("this node's keys have fingerprints {}", several.join(", ")),
        }
    }

    /// Updates the sentences of [`NodeInfo::trouble`](crate::NodeInfo::trouble).
    pub(super) fn follow_trouble(&mut self) {
        let up = self.sessions.up_count();
        let mut troubles: Vec<Trouble> = Vec::new();
        for (peer, cause) in self.book.troubles(up) {
            let sentence = format!("Peer {peer}: {}.", self.in_words(&cause));
            troubles.push(Trouble { cause: cause.label(), sentence });
        }
        if up == 0 {
            let unsure = self.search.unanswered.values().filter(|reason| !reason.is_empty());
            let sentence = |reason: &String| format!("Discovery gives no answer: {reason}.");
            troubles.extend(
                unsure.map(|reason| Trouble { cause: "discovery", sentence: sentence(reason) }),
            );
        }
        self.shared.set_troubles(troubles);
    }
}

fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    address.iter().find_map(|part| if let Protocol::P2p(peer) = part { Some(peer) } else { None })
}
