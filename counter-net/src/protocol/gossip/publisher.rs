//! Tracks which of its own cells this node has published, and when it may flush again.

use std::time::Duration;

use counter_core::{Delta, Replica, Version};

/// Paces flushes, and knows which own cells went out.
///
/// Invariant: own cells up to `published` were gossiped, or left to anti-entropy. No span goes out
/// twice.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// The delta from nothing to this replica's first version. It brings the replica's record to
    /// peers that do not know it.
    birth: Vec<u8>,
    published: Version,
    next_flush: Duration,
}

impl Publisher {
    pub(crate) fn new(replica: &Replica, now: Duration) -> Self {
        Self { birth: own_since(replica, 0).encode(), published: 0, next_flush: now }
    }

    /// This node continues as another replica, which no peer knows yet.
    pub(crate) fn renew(&mut self, replica: &Replica) {
        self.birth = own_since(replica, 0).encode();
        self.published = 0;
    }

    /// Nothing has gone out yet, so the next publication carries all own cells.
    pub(crate) fn start_again(&mut self) {
        self.published = 0;
    }

    pub(crate) fn birth(&self) -> &[u8] {
        &self.birth
    }

    /// The own version up to which cells went out.
    pub(super) fn published(&self) -> Version {
        self.published
    }

    /// Own cells go out up to `version`.
    pub(super) fn publish(&mut self, version: Version) {
        self.published = version;
    }

    /// When the next flush may begin.
    pub(crate) fn next_flush(&self) -> Duration {
        self.next_flush
    }

    /// A flush began. The next one waits for `interval`.
    pub(super) fn flushed(&mut self, now: Duration, interval: Duration) {
        self.next_flush = now + interval;
    }
}

/// The own cells beyond `after`, as a delta that ends with the last one.
pub(crate) fn own_since(replica: &Replica, after: Version) -> Delta {
    replica.map().delta_of(replica.id(), after).unwrap_or_default()
}
