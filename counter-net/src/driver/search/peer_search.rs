//! Tracks the search: the discovery methods without an answer, and the members that are dialled.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::Multiaddr;

use super::search_log::SearchLog;
use crate::discovery::Discovery;
use crate::driver::address_book::{DialFailure, PeerNews};
use crate::protocol::{NodeId, Search};
use crate::shared::Trouble;

/// How long to wait for an answer to multicast. Nodes of one network segment answer within 100 ms.
const MULTICAST_WINDOW: Duration = Duration::from_millis(500);
/// How long a dial may take before the member is suspected. The handshake takes 4 round trips,
/// which is 1.3 s at 320 ms.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The answer of each discovery method, and the members that are being probed.
#[derive(Debug)]
pub(in crate::driver) struct PeerSearch {
    /// Discovery methods that have not answered yet, each with the reason; empty until it gives
    /// one.
    unanswered: BTreeMap<usize, String>,
    /// Multicast, until its window is over. It has no task of its own.
    multicast: Option<usize>,
    /// Members dialled for the replicator, each with its deadline. Bounded by the members.
    probes: BTreeMap<NodeId, Duration>,
    /// The latest state that the replicator was told.
    reported: Search,
    log: SearchLog,
}

impl PeerSearch {
    pub(in crate::driver) fn new(methods: &[Discovery], key_fingerprints: Vec<String>) -> Self {
        let unanswered = methods
            .iter()
            .enumerate()
            .filter(|(_, method)| **method != Discovery::None)
            .map(|(at, _)| (at, String::new()))
            .collect();
        Self {
            unanswered,
            multicast: methods.iter().position(|method| *method == Discovery::Mdns),
            probes: BTreeMap::new(),
            reported: Search::default(),
            log: SearchLog::new(key_fingerprints),
        }
    }

    /// A discovery method has answered, perhaps with an empty list.
    pub(in crate::driver) fn answered(&mut self, method: usize) {
        self.unanswered.remove(&method);
    }

    /// A discovery method gave no answer. An earlier answer stands.
    pub(in crate::driver) fn unsure(&mut self, method: usize, reason: String) {
        if let Some(known) = self.unanswered.get_mut(&method) {
            *known = reason;
        }
    }

    /// A member is dialled for the replicator.
    pub(in crate::driver) fn probing(&mut self, node: NodeId, now: Duration) {
        self.probes.insert(node, now + PROBE_TIMEOUT);
    }

    /// A member's dial has ended.
    pub(in crate::driver) fn probed(&mut self, node: NodeId) {
        self.probes.remove(&node);
    }

    /// When the next probe or the multicast window ends.
    pub(in crate::driver) fn next_due(&self) -> Option<Duration> {
        let window = self.multicast.map(|_| MULTICAST_WINDOW);
        self.probes.values().copied().chain(window).min()
    }

    /// Ends the multicast window and the probes whose time is over. Returns the members that did
    /// not answer.
    pub(in crate::driver) fn take_late(&mut self, now: Duration) -> Vec<NodeId> {
        if now >= MULTICAST_WINDOW
            && let Some(method) = self.multicast.take()
        {
            self.answered(method);
        }
        let probes = self.probes.iter();
        let late: Vec<NodeId> =
            probes.filter(|(_, deadline)| **deadline <= now).map(|(node, _)| *node).collect();
        self.probes.retain(|_, deadline| *deadline > now);
        late
    }

    /// The state of the search, if it has changed since the last call.
    pub(in crate::driver) fn take_change(
        &mut self,
        candidates: usize,
        key_refused: bool,
    ) -> Option<Search> {
        let search = Search { candidates, unsure: !self.unanswered.is_empty(), key_refused };
        let is_news = search != self.reported;
        self.reported = search;
        is_news.then_some(search)
    }

    /// Logs that peers are reached again.
    pub(in crate::driver) fn log_reached(&mut self, peers: &[String], now: Duration) {
        peers.iter().for_each(|peer| self.log.reached(peer, now));
    }

    /// Logs that a peer is not reached.
    pub(in crate::driver) fn log_unreached(&mut self, news: &PeerNews, now: Duration) {
        self.log.unreached(news, now);
    }

    /// Logs that a node with another cluster key has called.
    pub(in crate::driver) fn log_foreign_caller(&mut self, from: &Multiaddr, now: Duration) {
        self.log.foreign_caller(from, now);
    }

    /// The sentences of [`NodeInfo::trouble`](crate::NodeInfo::trouble): the peers that are not
    /// reached, and the silent discovery methods of a node without peers.
    pub(in crate::driver) fn troubles(
        &self,
        unreached: &[(String, DialFailure)],
        is_alone: bool,
    ) -> Vec<Trouble> {
        let peers = unreached.iter().map(|(peer, cause)| Trouble {
            cause: cause.label(),
            sentence: format!("Peer {peer}: {}.", self.log.in_words(cause)),
        });
        let silent = self.unanswered.values().filter(|reason| is_alone && !reason.is_empty());
        let discovery = silent.map(|reason| Trouble {
            cause: "discovery",
            sentence: format!("Discovery gives no answer: {reason}."),
        });
        peers.chain(discovery).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn search_is_unsure_until_each_method_answers() {
        let mut search = PeerSearch::new(&[Discovery::Mdns, Discovery::Local], Vec::new());
        assert_eq!(search.take_change(0, false), None, "as the replicator assumes");
        search.answered(1);
        assert_eq!(
            (search.next_due(), search.take_change(0, false)),
            (Some(MULTICAST_WINDOW), None)
        );
        assert!(search.take_late(MULTICAST_WINDOW).is_empty());
        assert_eq!(search.take_change(0, false), Some(Search::NOBODY));
        assert_eq!((search.next_due(), search.take_change(0, false)), (None, None));
    }

    #[test]
    fn member_is_late_once() {
        let mut search = PeerSearch::new(&[], Vec::new());
        search.probing(NodeId(1), SECOND);
        search.probing(NodeId(2), SECOND);
        search.probed(NodeId(2));
        assert!(search.take_late(SECOND).is_empty());
        assert_eq!(search.take_late(SECOND + PROBE_TIMEOUT), [NodeId(1)]);
        assert!(search.take_late(9 * SECOND).is_empty() && search.next_due().is_none());
    }

    #[test]
    fn answer_ends_the_trouble_of_a_silent_method() {
        let mut search = PeerSearch::new(&[Discovery::Local], Vec::new());
        assert!(search.troubles(&[], true).is_empty());
        search.unsure(0, "no name server".into());
        assert!(search.troubles(&[], false).is_empty());
        assert_eq!(search.troubles(&[], true).len(), 1);
        search.answered(0);
        search.unsure(0, "no name server".into());
        assert!(search.troubles(&[], true).is_empty(), "an earlier answer stands");
    }
}
