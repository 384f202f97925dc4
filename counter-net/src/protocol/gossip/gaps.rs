//! Deltas that came before their predecessors. They wait, within bounds, until the versions before
//! them are here.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_core::{Delta, ReplicaId, Version};

/// The least time between two questions to peers about a gap. 100 ms. They are asked if no peer is
/// known to hold the missing versions.
const GAP_ASK_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct EarlyDelta {
    delta: Delta,
    bytes: usize,
    since: Duration,
}

/// Deltas by writer and by the version that must be seen first.
#[derive(Default, Debug)]
pub(crate) struct Gaps {
    waiting: BTreeMap<(ReplicaId, Version), EarlyDelta>,
    /// The sum of the sizes in `waiting`.
    bytes: usize,
    entries_max: usize,
    bytes_max: usize,
    next_ask: Duration,
}

impl Gaps {
    pub(crate) fn new(entries_max: usize, bytes_max: usize, now: Duration) -> Self {
        Self { entries_max, bytes_max, next_ask: now, ..Self::default() }
    }

    /// Lets a delta wait until `after` of `writer` is seen. False if there is no room.
    pub(crate) fn put(
        &mut self,
        writer: ReplicaId,
        after: Version,
        delta: Delta,
        bytes: usize,
        now: Duration,
    ) -> bool {
        if self.waiting.contains_key(&(writer, after)) {
            return true;
        }
        if self.waiting.len() >= self.entries_max || self.bytes + bytes > self.bytes_max {
            return false;
        }
        self.waiting.insert((writer, after), EarlyDelta { delta, bytes, since: now });
        self.bytes += bytes;
        true
    }

    /// Takes the next delta of `writer` whose predecessor is seen.
    pub(crate) fn take_ready(&mut self, writer: ReplicaId, seen: Version) -> Option<Delta> {
        let (key, _) = self.waiting.range((writer, 0)..=(writer, seen)).next()?;
        let key = *key;
        let waiting = self.waiting.remove(&key)?;
        self.bytes -= waiting.bytes;
        Some(waiting.delta)
    }

    /// Drops the deltas that have waited since before `since`. Their writer may be gone, with the
    /// versions before them.
    pub(crate) fn drop_older(&mut self, since: Duration) {
        self.waiting.retain(|_, waiting| waiting.since >= since);
        self.bytes = self.waiting.values().map(|waiting| waiting.bytes).sum();
    }

    /// The writers of waiting deltas, ascending. O(log n) a writer.
    pub(crate) fn writers(&self) -> Vec<ReplicaId> {
        let mut writers = Vec::new();
        let mut next = self.waiting.keys().next();
        while let Some((writer, _)) = next {
            writers.push(*writer);
            next = self
                .waiting
                .range((*writer, Version::MAX)..)
                .find(|((other, _), _)| other != writer)
                .map(|(key, _)| key);
        }
        writers
    }

    /// When a peer may be asked about a gap again.
    pub(super) fn next_ask(&self) -> Duration {
        self.next_ask
    }

    /// A peer is asked about a gap now.
    pub(crate) fn asked(&mut self, now: Duration) {
        self.next_ask = now + GAP_ASK_INTERVAL;
    }

    pub(crate) fn entries(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
