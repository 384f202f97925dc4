//! Peers that broke the protocol's rules and are refused for a while.

use std::collections::VecDeque;
use std::time::Duration;

use libp2p::PeerId;

use crate::config::{CUT_FOR, CUT_MAX};

/// The refused peers, each with the time from which it may come back, the earliest first.
///
/// At most [`CUT_MAX`]; a further one lets the earliest come back.
#[derive(Default)]
pub(super) struct CutPeers(VecDeque<(Duration, PeerId)>);

impl CutPeers {
    /// Refuses `peer` from `now` on. Returns the peers that may come back to make room.
    pub(super) fn add(&mut self, peer: PeerId, now: Duration) -> Vec<PeerId> {
        self.0.push_back((now + CUT_FOR, peer));
        let mut released = Vec::new();
        while self.0.len() > CUT_MAX {
            released.extend(self.take_earliest());
        }
        released
    }

    /// Takes the peers whose time is over.
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<PeerId> {
        let mut released = Vec::new();
        while self.0.front().is_some_and(|(until, _)| *until <= now) {
            released.extend(self.take_earliest());
        }
        released
    }

    /// Takes the earliest entry. Returns its peer unless a later entry refuses it too.
    fn take_earliest(&mut self) -> Option<PeerId> {
        let (_, peer) = self.0.pop_front()?;
        self.0.iter().all(|(_, other)| *other != peer).then_some(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_comes_back_after_its_last_cut() {
        let (mut cut, peer) = (CutPeers::default(), PeerId::random());
        let second = Duration::from_secs(1);
        assert!(cut.add(peer, Duration::ZERO).is_empty() && cut.add(peer, second).is_empty());
        assert!(cut.take_due(CUT_FOR).is_empty());
        assert_eq!(cut.take_due(CUT_FOR + second), [peer]);
    }

    #[test]
    fn further_peer_releases_the_earliest() {
        let (mut cut, first) = (CutPeers::default(), PeerId::random());
        cut.add(first, Duration::ZERO);
        let released: Vec<PeerId> =
            (0..CUT_MAX).flat_map(|_| cut.add(PeerId::random(), Duration::ZERO)).collect();
        assert_eq!(released, [first]);
    }
}
