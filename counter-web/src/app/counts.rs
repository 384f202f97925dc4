//! The event counts of the front, for its metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count for each kind of event.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) requests: EventCount,
    pub(crate) adds: EventCount,
    pub(crate) adds_refused: EventCount,
    pub(crate) frames_sent: EventCount,
    pub(crate) sockets_opened: EventCount,
    pub(crate) sockets_closed: EventCount,
}

/// A count that only grows.
#[derive(Default)]
pub(crate) struct EventCount(AtomicU64);

impl EventCount {
    pub(crate) fn increment(&self) {
        self.increment_by(1);
    }

    pub(crate) fn increment_by(&self, events: usize) {
        self.0.fetch_add(events as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
