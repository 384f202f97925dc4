//! Who is at the far end of the connections: a peer is up once it has shown that it speaks this
//! cluster's protocol.

use std::collections::HashMap;
use std::time::Duration;

use libp2p::PeerId;

use crate::behaviour::node_id;
use crate::config::{LOST_AFTER, SILENT_AFTER};
use crate::protocol::NodeId;

/// A connection that has not shown within this time that it speaks our protocol is closed.
const SILENCE_MAX: Duration = Duration::from_secs(10);

struct Contact {
    node: NodeId,
    since: Duration,
    up: bool,
    /// When anything of it was last read.
    heard: Duration,
    /// Who does not answer pings on principle may be silent for ever.
    answers_pings: bool,
    /// It answered pings, then fell silent, and the replicator knows.
    silent: bool,
}

/// Everybody connected. Bounded by the connection limits.
#[derive(Default)]
pub(super) struct Contacts {
    contacts: HashMap<PeerId, Contact>,
    up: HashMap<NodeId, PeerId>,
}

impl Contacts {
    pub(super) fn connected(&mut self, peer: PeerId, now: Duration) {
        let new = || Contact {
            node: node_id(&peer),
            since: now,
            up: false,
            heard: now,
            answers_pings: false,
            silent: false,
        };
        self.contacts.entry(peer).or_insert_with(new).heard = now;
    }

    /// Something of the peer was read. Its node, where that ends a silence that was told.
    pub(super) fn heard(&mut self, peer: &PeerId, now: Duration) -> Option<NodeId> {
        let contact = self.contacts.get_mut(peer)?;
        contact.heard = now;
        std::mem::take(&mut contact.silent).then_some(contact.node)
    }

    /// The peer answered a ping: from now on its silence means something.
    pub(super) fn answered_ping(&mut self, peer: &PeerId) {
        if let Some(contact) = self.contacts.get_mut(peer) {
            contact.answers_pings = true;
        }
    }

    /// The peer speaks our protocol. Its node, if that is news; `None` too where another peer has
    /// that node's number (one in 2^64).
    pub(super) fn spoke(&mut self, peer: PeerId) -> Option<NodeId> {
        let contact = self
            .contacts
            .get_mut(&peer)
            .filter(|contact| !contact.up && !self.up.contains_key(&contact.node))?;
        contact.up = true;
        self.up.insert(contact.node, peer);
        Some(contact.node)
    }

    /// The last connection closed. Its node, if the peer was up.
    pub(super) fn disconnected(&mut self, peer: &PeerId) -> Option<NodeId> {
        let contact = self.contacts.remove(peer).filter(|contact| contact.up)?;
        self.up.remove(&contact.node);
        Some(contact.node)
    }

    pub(super) fn peer_of(&self, node: NodeId) -> Option<PeerId> {
        self.up.get(&node).copied()
    }

    /// The number of the peer, if it is up.
    pub(super) fn node_of(&self, peer: &PeerId) -> Option<NodeId> {
        self.contacts.get(peer).filter(|contact| contact.up).map(|contact| contact.node)
    }

    /// The `turn`th of the peers that are up, round and round.
    pub(super) fn in_turn(&self, turn: usize) -> Option<PeerId> {
        self.up.values().nth(turn.checked_rem(self.up.len())?).copied()
    }

    pub(super) fn up_count(&self) -> usize {
        self.up.len()
    }

    /// The peers that are up, answered pings and fell silent, each once a silence.
    pub(super) fn fell_silent(&mut self, now: Duration) -> Vec<NodeId> {
        let fell = |contact: &&mut Contact| {
            contact.up && contact.answers_pings && now.saturating_sub(contact.heard) >= SILENT_AFTER
        };
        let fallen = self.contacts.values_mut().filter(fell).filter_map(|contact| {
            let told = std::mem::replace(&mut contact.silent, true);
            (!told).then_some(contact.node)
        });
        fallen.collect()
    }

    /// Those that answered pings and have been silent for too long to be waited for.
    pub(super) fn lost(&self, now: Duration) -> Vec<PeerId> {
        let lost = |contact: &Contact| {
            contact.answers_pings && now.saturating_sub(contact.heard) >= LOST_AFTER
        };
        self.contacts.iter().filter(|(_, contact)| lost(contact)).map(|(peer, _)| *peer).collect()
    }

    /// Those that never spoke our protocol, and had the time to.
    pub(super) fn strangers(&self, now: Duration) -> Vec<PeerId> {
        let stranger =
            |contact: &Contact| !contact.up && now.saturating_sub(contact.since) >= SILENCE_MAX;
        self.contacts
            .iter()
            .filter(|(_, contact)| stranger(contact))
            .map(|(peer, _)| *peer)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_up_once_from_its_first_word_to_its_last_connection() {
        let mut contacts = Contacts::default();
        let peer = PeerId::random();
        assert_eq!(contacts.spoke(peer), None, "not connected");
        contacts.connected(peer, Duration::ZERO);
        assert_eq!(contacts.strangers(SILENCE_MAX), [peer]);
        let node = contacts.spoke(peer).expect("its first word");
        assert_eq!(contacts.spoke(peer), None, "no news");
        assert_eq!(
            (contacts.peer_of(node), contacts.node_of(&peer), contacts.up_count()),
            (Some(peer), Some(node), 1)
        );
        assert!(contacts.strangers(SILENCE_MAX).is_empty());
        assert_eq!(contacts.disconnected(&peer), Some(node));
        assert_eq!((contacts.disconnected(&peer), contacts.up_count()), (None, 0));
    }

    #[test]
    fn only_who_answered_pings_and_fell_silent_is_lost() {
        let mut contacts = Contacts::default();
        let (peer, mute) = (PeerId::random(), PeerId::random());
        contacts.connected(peer, Duration::ZERO);
        contacts.connected(mute, Duration::ZERO);
        assert!(contacts.lost(LOST_AFTER).is_empty());
        contacts.answered_ping(&peer);
        assert_eq!(contacts.lost(LOST_AFTER), [peer]);
        contacts.heard(&peer, LOST_AFTER / 2);
        assert!(contacts.lost(LOST_AFTER).is_empty(), "any word counts");
        assert_eq!(contacts.lost(LOST_AFTER * 2), [peer]);
    }

    #[test]
    fn a_silence_is_told_once_and_so_is_its_end() {
        let mut contacts = Contacts::default();
        let peer = PeerId::random();
        contacts.connected(peer, Duration::ZERO);
        let node = contacts.spoke(peer).expect("its first word");
        assert!(
            contacts.fell_silent(SILENT_AFTER).is_empty(),
            "it may not answer pings on principle"
        );
        contacts.answered_ping(&peer);
        assert_eq!(contacts.heard(&peer, Duration::ZERO), None);
        assert_eq!(
            [contacts.fell_silent(SILENT_AFTER), contacts.fell_silent(SILENT_AFTER)],
            [vec![node], vec![]]
        );
        assert_eq!(
            [contacts.heard(&peer, SILENT_AFTER), contacts.heard(&peer, SILENT_AFTER)],
            [Some(node), None]
        );
        assert_eq!(contacts.fell_silent(SILENT_AFTER * 2), [node]);
    }
}
