//! Introductions: a peer names the others that it is connected to, so that a cluster grown around
//! one address outlives it.
//!
//! The asker sends nothing; the answer is a CBOR list of multiaddresses with `/p2p/…`. Whoever is
//! admitted is trusted to name others: what it names is dialled, boundedly, and forgotten where
//! nobody of the cluster answers.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId, request_response};

use super::book::Origin;
use super::engine::Driver;
use crate::config::{INTRODUCED_MAX, INTRODUCTION_INTERVAL};

impl Driver {
    pub(super) fn ask_for_introduction(&mut self, peer: PeerId) {
        self.swarm.behaviour_mut().peers.send_request(&peer, Vec::new());
    }

    /// Those who came after us, and whom we do not know by ourselves, are found so.
    pub(super) fn ask_in_turn(&mut self, now: Duration) {
        if now < self.next_introduction {
            return;
        }
        self.next_introduction = now + INTRODUCTION_INTERVAL;
        self.introductions = self.introductions.wrapping_add(1);
        if let Some(peer) = self.contacts.in_turn(self.introductions) {
            self.ask_for_introduction(peer);
        }
    }

    pub(super) fn on_introduction(&mut self, event: request_response::Event<Vec<u8>, Vec<u8>>) {
        use request_response::{Event, Message};
        match event {
            Event::Message { peer, message: Message::Request { channel, .. }, .. }
                if self.contacts.node_of(&peer).is_some() =>
            {
                let others: Vec<String> =
                    self.book.introduce(INTRODUCED_MAX).iter().map(Multiaddr::to_string).collect();
                // A list of strings always encodes; and the asker may be gone by now.
                let answer = serde_cbor::to_vec(&others).unwrap_or_default();
                let _gone = self.swarm.behaviour_mut().peers.send_response(channel, answer);
            }
            Event::Message { message: Message::Response { response, .. }, .. } => {
                match read(&response) {
                    Some(others) => self.book.found(others, Origin::Found, self.shared.now()),
                    None => self.shared.metrics.rejected("introduction"),
                }
            }
            _ => {}
        }
    }
}

/// Bytes from the network: bounded by the codec, read strictly.
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
