//! The connected peers. A peer is up once it has shown that it speaks this cluster's protocol.

use std::collections::HashMap;
use std::time::Duration;

use libp2p::PeerId;

use crate::config::{LOST_AFTER, SILENT_AFTER};
use crate::network::node_id;
use crate::protocol::NodeId;

/// How long a connected peer may take to show that it speaks the protocol.
const SILENCE_MAX: Duration = Duration::from_secs(10);

struct Session {
    node: NodeId,
    since: Duration,
    up: bool,
    /// When a message of it last arrived.
    heard: Duration,
    /// A peer without the ping protocol may stay silent for ever.
    answers_pings: bool,
    /// It answered pings and then fell silent, and the replicator was told.
    silent: bool,
}

/// Every connected peer. Bounded by the connection limits.
///
/// A node number belongs to at most one peer that is up.
#[derive(Default)]
pub(in crate::driver) struct Sessions {
    sessions: HashMap<PeerId, Session>,
    up: HashMap<NodeId, PeerId>,
}

impl Sessions {
    pub(in crate::driver) fn connected(&mut self, peer: PeerId, now: Duration) {
        let new = || Session {
            node: node_id(&peer),
            since: now,
            up: false,
            heard: now,
            answers_pings: false,
            silent: false,
        };
        self.sessions.entry(peer).or_insert_with(new).heard = now;
    }

    /// A message of the peer arrived. Returns its node if this ends a reported silence.
    pub(in crate::driver) fn heard(&mut self, peer: &PeerId, now: Duration) -> Option<NodeId> {
        let session = self.sessions.get_mut(peer)?;
        session.heard = now;
        std::mem::take(&mut session.silent).then_some(session.node)
    }

    /// The peer answered a ping. From now on silence is a sign of trouble.
    pub(in crate::driver) fn answered_ping(&mut self, peer: &PeerId) {
        if let Some(session) = self.sessions.get_mut(peer) {
            session.answers_pings = true;
        }
    }

    /// The peer speaks the protocol. Returns its node the first time. `None` also if another peer
    /// has that node's number, which happens once in 2^64.
    pub(in crate::driver) fn spoke(&mut self, peer: PeerId) -> Option<NodeId> {
        let session = self
            .sessions
            .get_mut(&peer)
            .filter(|session| !session.up && !self.up.contains_key(&session.node))?;
        session.up = true;
        self.up.insert(session.node, peer);
        Some(session.node)
    }

    /// The last connection closed. Returns the peer's node if it was up.
    pub(in crate::driver) fn disconnected(&mut self, peer: &PeerId) -> Option<NodeId> {
        let session = self.sessions.remove(peer).filter(|session| session.up)?;
        self.up.remove(&session.node);
        Some(session.node)
    }

    pub(in crate::driver) fn peer_of(&self, node: NodeId) -> Option<PeerId> {
        self.up.get(&node).copied()
    }

    /// The peer's node, if it is up.
    pub(in crate::driver) fn node_of(&self, peer: &PeerId) -> Option<NodeId> {
        self.sessions.get(peer).filter(|session| session.up).map(|session| session.node)
    }

    /// The peer for this turn: each peer that is up gets one in rotation.
    pub(in crate::driver) fn in_turn(&self, turn: usize) -> Option<PeerId> {
        self.up.values().nth(turn.checked_rem(self.up.len())?).copied()
    }

    pub(in crate::driver) fn up_count(&self) -> usize {
        self.up.len()
    }

    /// The peers that are up, have answered pings and fell silent. Each is returned once per
    /// silence.
    pub(in crate::driver) fn fell_silent(&mut self, now: Duration) -> Vec<NodeId> {
        let fell = |session: &&mut Session| {
            session.up && session.answers_pings && now.saturating_sub(session.heard) >= SILENT_AFTER
        };
        let fallen = self.sessions.values_mut().filter(fell).filter_map(|session| {
            let told = std::mem::replace(&mut session.silent, true);
            (!told).then_some(session.node)
        });
        fallen.collect()
    }

    /// The peers that have answered pings and were silent for [`LOST_AFTER`].
    pub(in crate::driver) fn lost(&self, now: Duration) -> Vec<PeerId> {
        let lost = |session: &Session| {
            session.answers_pings && now.saturating_sub(session.heard) >= LOST_AFTER
        };
        self.sessions.iter().filter(|(_, session)| lost(session)).map(|(peer, _)| *peer).collect()
    }

    /// The peers that have not shown the protocol in time.
    pub(in crate::driver) fn strangers(&self, now: Duration) -> Vec<PeerId> {
        let stranger =
            |session: &Session| !session.up && now.saturating_sub(session.since) >= SILENCE_MAX;
        self.sessions
            .iter()
            .filter(|(_, session)| stranger(session))
            .map(|(peer, _)| *peer)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_is_up_from_first_message_to_last_connection() {
        let mut sessions = Sessions::default();
        let peer = PeerId::random();
        assert_eq!(sessions.spoke(peer), None, "not connected");
        sessions.connected(peer, Duration::ZERO);
        assert_eq!(sessions.strangers(SILENCE_MAX), [peer]);
        let node = sessions.spoke(peer).expect("its first word");
        assert_eq!(sessions.spoke(peer), None, "no news");
        assert_eq!(
            (sessions.peer_of(node), sessions.node_of(&peer), sessions.up_count()),
            (Some(peer), Some(node), 1)
        );
        assert!(sessions.strangers(SILENCE_MAX).is_empty());
        assert_eq!(sessions.disconnected(&peer), Some(node));
        assert_eq!((sessions.disconnected(&peer), sessions.up_count()), (None, 0));
    }

    #[test]
    fn only_silent_peer_that_answered_pings_is_lost() {
        let mut sessions = Sessions::default();
        let (peer, mute) = (PeerId::random(), PeerId::random());
        sessions.connected(peer, Duration::ZERO);
        sessions.connected(mute, Duration::ZERO);
        assert!(sessions.lost(LOST_AFTER).is_empty());
        sessions.answered_ping(&peer);
        assert_eq!(sessions.lost(LOST_AFTER), [peer]);
        sessions.heard(&peer, LOST_AFTER / 2);
        assert!(sessions.lost(LOST_AFTER).is_empty(), "any word counts");
        assert_eq!(sessions.lost(LOST_AFTER * 2), [peer]);
    }

    #[test]
    fn a_silence_is_told_once_and_so_is_its_end() {
        let mut sessions = Sessions::default();
        let peer = PeerId::random();
        sessions.connected(peer, Duration::ZERO);
        let node = sessions.spoke(peer).expect("its first word");
        assert!(
            sessions.fell_silent(SILENT_AFTER).is_empty(),
            "it may not answer pings on principle"
        );
        sessions.answered_ping(&peer);
        assert_eq!(sessions.heard(&peer, Duration::ZERO), None);
        assert_eq!(
            [sessions.fell_silent(SILENT_AFTER), sessions.fell_silent(SILENT_AFTER)],
            [vec![node], vec![]]
        );
        assert_eq!(
            [sessions.heard(&peer, SILENT_AFTER), sessions.heard(&peer, SILENT_AFTER)],
            [Some(node), None]
        );
        assert_eq!(sessions.fell_silent(SILENT_AFTER * 2), [node]);
    }
}
