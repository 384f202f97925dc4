//! The event counts of the front, for its metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count for each kind of event.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) requests: Tick,
    pub(crate) adds: Tick,
    pub(crate) adds_refused: Tick,
    pub(crate) frames_sent: Tick,
    pub(crate) sockets_opened: Tick,
    pub(crate) sockets_closed: Tick,
}

/// A count that only grows.
#[derive(Default)]
pub(crate) struct Tick(AtomicU64);

impl Tick {
    pub(crate) fn one(&self) {
        self.many(1);
    }

    pub(crate) fn many(&self, events: usize) {
        self.0.fetch_add(events as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
