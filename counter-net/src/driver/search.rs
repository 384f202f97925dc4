//! What looking for peers has come to: for the replicator, for the log, and for operators.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::book::{News, Origin, Target};
use super::cause::Cause;
use super::engine::Driver;
use crate::behaviour::node_id;
use crate::discovery::{Discovery, Finding, Outcome};
use crate::protocol::{Input, NodeId, Search};
use crate::shared::Trouble;

/// Nodes of one network segment answer multicast within some 100 ms. Nobody answered it: nobody is
/// there.
const MULTICAST_WINDOW: Duration = Duration::from_millis(500);
/// A member that a dial has not reached by then is suspected. The handshake takes 4 round trips:
/// 1.3 s at 320 ms.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Lines about peers that come and go, written in [`LINES_EVERY`] at most.
const LINES_MAX: usize = 12;
const LINES_EVERY: Duration = Duration::from_secs(300);

/// What each way of discovery has answered, and the members that are being probed.
pub(super) struct Searching {
    /// Ways that have not answered yet, or not the last time, each with the reason.
    unsure: BTreeMap<usize, String>,
    /// The way that has no task of its own, until its window is over.
    multicast: Option<usize>,
    /// Members dialled for the replicator, with the time when that takes too long. Bounded by the
    /// members.
    probes: BTreeMap<NodeId, Duration>,
    told: Search,
    lines: Lines,
    /// The next caller with another key is worth a line from then on.
    next_caller: Duration,
}

/// Keeps the log short where peers come and go without end.
#[derive(Default)]
struct Lines {
    since: Duration,
    written: usize,
    left_out: usize,
}

impl Lines {
    /// Whether one more line may be written at `now`.
    fn take(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.since) >= LINES_EVERY {
            if self.left_out > 0 {
                tracing::warn!(
                    "{} more changes of peers were not logged; `members` and `trouble` in /api/status are of now",
                    self.left_out
                );
            }
            *self = Self { since: now, ..Self::default() };
        }
        let room = self.written < LINES_MAX;
        if room {
            self.written += 1;
        } else {
            self.left_out += 1;
        }
        room
    }
}

impl Searching {
    pub(super) fn new(ways: &[Discovery]) -> Self {
        let asks = |way: &Discovery| *way != Discovery::None;
        let unsure = ways
            .iter()
            .enumerate()
            .filter(|(_, way)| asks(way))
            .map(|(at, _)| (at, String::new()))
            .collect();
        let multicast = ways.iter().position(|way| *way == Discovery::Mdns);
        Self {
            unsure,
            multicast,
            probes: BTreeMap::new(),
            told: Search::default(),
            lines: Lines::default(),
            next_caller: Duration::ZERO,
        }
    }

    fn answered(&mut self, way: usize) {
        self.unsure.remove(&way);
    }
}

impl Driver {
    /// A way of discovery reports.
    pub(super) fn on_finding(&mut self, finding: Finding) {
        match finding.outcome {
            Outcome::Found(addresses) => {
                self.searching.answered(finding.way);
                self.book.found(addresses, Origin::Found, self.shared.now());
            }
            Outcome::Nobody => self.searching.answered(finding.way),
            Outcome::Gone(nodes) => self.departed.note(nodes, self.shared.now()),
            // Where it has answered before, that answer stands.
            Outcome::Unsure(reason) => {
                if let Some(known) = self.searching.unsure.get_mut(&finding.way) {
                    *known = reason;
                }
            }
        }
        self.follow_trouble();
    }

    /// When something here is due.
    pub(super) fn search_due(&self) -> Option<Duration> {
        let window = self.searching.multicast.map(|_| MULTICAST_WINDOW);
        self.searching.probes.values().copied().chain(window).min()
    }

    pub(super) fn on_search_due(&mut self, now: Duration) {
        if now >= MULTICAST_WINDOW
            && let Some(way) = self.searching.multicast.take()
        {
            self.searching.answered(way);
        }
        let late: Vec<NodeId> = self
            .searching
            .probes
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(node, _)| *node)
            .collect();
        for node in late {
            self.searching.probes.remove(&node);
            self.feed(Input::DialFailed { peer: node });
        }
    }

    /// Tells the replicator what changed. While somebody may still answer, a node does not call
    /// itself alone.
    pub(super) fn tell_search(&mut self) {
        let search = Search {
            candidates: self.book.candidates(self.contacts.up_count()),
            unsure: !self.searching.unsure.is_empty(),
            key_refused: self.book.is_key_refused(),
        };
        if search != self.searching.told {
            self.searching.told = search;
            self.feed(Input::Search(search));
        }
    }

    /// The replicator wants a member reached.
    pub(super) fn probe(&mut self, node: NodeId, addresses: &[Vec<u8>]) {
        let now = self.shared.now();
        let addresses: Vec<Multiaddr> =
            addresses.iter().filter_map(|bytes| Multiaddr::try_from(bytes.clone()).ok()).collect();
        let peer = addresses.iter().find_map(peer_of).filter(|peer| node_id(peer) == node);
        if let Some(peer) = peer.filter(|_| !self.isolated)
            && !self.swarm.is_connected(&peer)
            && self.book.want(peer, addresses, now)
        {
            self.searching.probes.insert(node, now + PROBE_TIMEOUT);
        }
    }

    /// A peer spoke: it is reached, whatever was said of it before.
    pub(super) fn on_reached(&mut self, peer: PeerId) {
        self.searching.probes.remove(&node_id(&peer));
        let now = self.shared.now();
        for peer in self.book.spoke(peer) {
            if self.searching.lines.take(now) {
                tracing::info!("peer {peer} is reached again");
            }
        }
        self.follow_trouble();
    }

    /// A dial failed for this cause: noted, logged where it is news, and told to the replicator
    /// where it says that a member is not there.
    pub(super) fn on_unreached(&mut self, target: &Target, cause: Cause) {
        let is_absence = cause.is_absence();
        let now = self.shared.now();
        match self.book.failed(target, cause, now) {
            // Whoever said good-bye is not expected to answer.
            Some(News::Unreached { .. }) if is_absence && self.has_left(target) => {}
            Some(_) if !self.searching.lines.take(now) => {}
            Some(News::Unreached { peer, cause }) => {
                tracing::warn!("peer {peer} unreachable: {}", self.in_words(&cause))
            }
            Some(News::NoneReached { addresses, last, cause }) => {
                tracing::warn!(
                    "none of the {addresses} addresses that were found is reached; {last}: {}",
                    self.in_words(&cause)
                );
            }
            None => {}
        }
        if let Target::Peer(peer) = target
            && is_absence
        {
            let node = node_id(peer);
            self.searching.probes.remove(&node);
            self.feed(Input::DialFailed { peer: node });
        }
        self.follow_trouble();
    }

    /// Somebody with another key dialled this node. It hears so; here it is a line now and then.
    pub(super) fn note_foreign_caller(&mut self, from: &Multiaddr) {
        let now = self.shared.now();
        if now >= self.searching.next_caller {
            self.searching.next_caller = now + LINES_EVERY;
            tracing::warn!(
                "a caller from {from} does not have this node's cluster key; {}",
                self.own_fingerprints()
            );
        }
    }

    fn has_left(&self, target: &Target) -> bool {
        let Target::Peer(peer) = target else { return false };
        self.shared.read().replicator.has_left_node(node_id(peer))
    }

    fn in_words(&self, cause: &Cause) -> String {
        match cause {
            Cause::WrongKey if self.key_fingerprints.is_empty() => {
                "it has a cluster key, and this node has none: set the same cluster key on every node".to_owned()
            }
            Cause::WrongKey => format!("{cause}: set the same cluster key on every node; {}", self.own_fingerprints()),
            _ => cause.to_string(),
        }
    }

    fn own_fingerprints(&self) -> String {
        match self.key_fingerprints.as_slice() {
            [] => "this node has no key".to_owned(),
            [one] => format!("the fingerprint of this node's is {one}"),
            several => format!("the fingerprints of this node's are {}", several.join(", ")),
        }
    }

    /// Keeps the sentences of trouble up to date.
    pub(super) fn follow_trouble(&mut self) {
        let up = self.contacts.up_count();
        let mut troubles: Vec<Trouble> = Vec::new();
        for (peer, cause) in self.book.troubles(up) {
            let sentence = format!("Peer {peer}: {}.", self.in_words(&cause));
            troubles.push(Trouble { cause: cause.label(), sentence });
        }
        if up == 0 {
            let unsure = self.searching.unsure.values().filter(|reason| !reason.is_empty());
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
