//! Introductions: each peer lists the peers that it is connected to. A cluster grown around one
//! address outlives that address.
//!
//! The request is empty; the answer is a CBOR list of multiaddresses with `/p2p/…`. An admitted
//! peer is trusted to name others. The named addresses are dialled within bounds, and forgotten if
//! no node of the cluster answers there.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId, request_response};

use super::Driver;
use crate::config::{INTRODUCED_MAX, INTRODUCTION_INTERVAL};
use crate::driver::address_book::AddressOrigin;

/// Schedules the questions for introductions: which peer is next, and when.
pub(super) struct Introductions {
    due: Duration,
    turn: usize,
}

impl Introductions {
    pub(super) fn new(now: Duration) -> Self {
        Self { due: now + INTRODUCTION_INTERVAL, turn: 0 }
    }

    /// Returns the turn of the peer to ask, if one is due.
    fn take_due(&mut self, now: Duration) -> Option<usize> {
        if now < self.due {
            return None;
        }
        self.due = now + INTRODUCTION_INTERVAL;
        self.turn = self.turn.wrapping_add(1);
        Some(self.turn)
    }
}

impl Driver {
    /// Asks one peer for an introduction.
    pub(super) fn ask_for_introduction(&mut self, peer: PeerId) {
        self.swarm.behaviour_mut().peers.send_request(&peer, Vec::new());
    }

    /// Asks the next peer, if one is due. This finds nodes that joined later.
    pub(super) fn ask_in_turn(&mut self, now: Duration) {
        let turn = self.introductions.take_due(now);
        if let Some(peer) = turn.and_then(|turn| self.sessions.in_turn(turn)) {
            self.ask_for_introduction(peer);
        }
    }

    pub(super) fn on_introduction(&mut self, event: request_response::Event<Vec<u8>, Vec<u8>>) {
        use request_response::{Event, Message};
        match event {
            Event::Message { peer, message: Message::Request { channel, .. }, .. }
                if self.sessions.node_of(&peer).is_some() =>
            {
                let others: Vec<String> =
                    self.book.introduce(INTRODUCED_MAX).iter().map(Multiaddr::to_string).collect();
                // A list of strings always encodes. The asker may be gone.
                let answer = serde_cbor::to_vec(&others).unwrap_or_default();
                let _gone = self.swarm.behaviour_mut().peers.send_response(channel, answer);
            }
            Event::Message { message: Message::Response { response, .. }, .. } => {
                match read(&response) {
                    Some(others) => {
                        self.book.found(others, AddressOrigin::Found, self.shared.now())
                    }
                    None => self.shared.metrics.rejected("introduction"),
                }
            }
            _ => {}
        }
    }
}

/// Reads an answer strictly. The codec has bounded its length.
fn read(answer: &[u8]) -> Option<Vec<Multiaddr>> {
    let others: Vec<&str> = serde_cbor::from_slice(answer).ok()?;
    others.into_iter().take(INTRODUCED_MAX).map(|address| address.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lists_of_addresses_are_read() {
        let listed = serde_cbor::to_vec(&["/ip4/127.0.0.1/tcp/1"]).expect("plain");
        assert_eq!(read(&listed).map(|others| others.len()), Some(1));
        assert_eq!(read(&serde_cbor::to_vec(&["nonsense"]).expect("plain")), None);
        assert_eq!(read(b"\xff\x00"), None);
        assert_eq!(read(&[]), None);
    }
}
