//! The cost of a run, in messages and payload bytes.

use std::ops::AddAssign;

/// The cost of one node, or of all. Bytes are bytes of payload. A gossip message counts once for
/// each peer that it is sent to. Framing, signatures and encryption do not count.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Gossip messages sent, copies included.
    pub gossip_messages: u64,
    /// Bytes of those messages.
    pub gossip_bytes: u64,
    /// Gossip messages received for the second time or more.
    pub gossip_repeats: u64,
    /// Requests and answers sent.
    pub requests: u64,
    /// Bytes of those requests and answers.
    pub request_bytes: u64,
    /// Bytes received, of gossip, requests and answers.
    pub received_bytes: u64,
}

impl Cost {
    /// All bytes sent.
    pub fn bytes(&self) -> u64 {
        self.gossip_bytes + self.request_bytes
    }

    /// The cost since `before`.
    pub fn since(&self, before: &Cost) -> Cost {
        Cost {
            gossip_messages: self.gossip_messages - before.gossip_messages,
            gossip_bytes: self.gossip_bytes - before.gossip_bytes,
            gossip_repeats: self.gossip_repeats - before.gossip_repeats,
            requests: self.requests - before.requests,
            request_bytes: self.request_bytes - before.request_bytes,
            received_bytes: self.received_bytes - before.received_bytes,
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.gossip_messages += other.gossip_messages;
        self.gossip_bytes += other.gossip_bytes;
        self.gossip_repeats += other.gossip_repeats;
        self.requests += other.requests;
        self.request_bytes += other.request_bytes;
        self.received_bytes += other.received_bytes;
    }
}
