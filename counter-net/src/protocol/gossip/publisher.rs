//! Tracks which of its own cells this node has published, and when it may flush again.

use std::time::Duration;

use counter_core::{Delta, Replica, Version};

/// The most flushes that follow each other at once after a pause. So a click that comes soon after
/// another one is sent at once too.
const FLUSHES_AT_ONCE: u32 = 4;

/// Paces flushes, and knows which own cells went out.
///
/// Flushes are paced on average: each takes an interval, and a pause saves up for
/// [`FLUSHES_AT_ONCE`] of them (the generic cell rate algorithm).
///
/// Invariant: own cells up to `published` were gossiped, or left to anti-entropy. No span goes out
/// twice.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// The delta from nothing to this replica's first version. It brings the replica's record to
    /// peers that do not know it.
    birth: Vec<u8>,
    published: Version,
    /// When the intervals of all flushes so far are over.
    paced_until: Duration,
    next_flush: Duration,
}

impl Publisher {
    pub(crate) fn new(replica: &Replica, now: Duration) -> Self {
        Self {
            birth: own_since(replica, 0).encode(),
            published: 0,
            paced_until: now,
            next_flush: now,
        }
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

    /// A flush began. On average, flushes are an `interval` apart.
    pub(super) fn flushed(&mut self, now: Duration, interval: Duration) {
        self.paced_until = self.paced_until.max(now) + interval;
        self.next_flush = self.paced_until.saturating_sub(interval * (FLUSHES_AT_ONCE - 1));
    }
}

/// The own cells beyond `after`, as a delta that ends with the last one.
pub(crate) fn own_since(replica: &Replica, after: Version) -> Delta {
    replica.map().delta_of(replica.id(), after).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use counter_core::ReplicaId;

    #[test]
    fn pause_saves_up_for_some_flushes_at_once() {
        let replica = Replica::new(ReplicaId::new(1, 1), "ord").expect("a region");
        let (interval, start) = (Duration::from_millis(5), Duration::from_secs(9));
        let mut publisher = Publisher::new(&replica, start);
        let mut at_once = |now| {
            let begun = std::iter::from_fn(|| {
                (publisher.next_flush() <= now).then(|| publisher.flushed(now, interval))
            });
            begun.count()
        };
        assert_eq!(at_once(start), 4);
        // From now on there is one for each interval.
        assert_eq!(
            [1, 4, 5, 9, 15].map(|ms| at_once(start + Duration::from_millis(ms))),
            [0, 0, 1, 0, 2]
        );
        assert_eq!(at_once(start + Duration::from_secs(1)), 4);
    }
}
