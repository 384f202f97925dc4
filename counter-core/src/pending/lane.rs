//! The lane in which a thread adds: threads are dealt out to the lanes in turn.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Lanes of a counter's pending amounts. With more of them, more processors add to one counter
/// without slowing each other. Each lane that is made costs 16 bytes a counter.
#[cfg(not(loom))]
pub(crate) const LANES: usize = 4;
#[cfg(loom)]
pub(crate) const LANES: usize = 2;

thread_local! {
    /// [`LANES`] before the first add.
    static LANE: Cell<usize> = const { Cell::new(LANES) };
}

/// The calling thread's lane, or [`LANES`] if it has none yet.
#[inline]
pub(crate) fn known_lane() -> usize {
    LANE.get()
}

/// The calling thread's lane, assigned now if it has none.
pub(crate) fn lane() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    if LANE.get() == LANES {
        LANE.set(NEXT.fetch_add(1, Ordering::Relaxed) % LANES);
    }
    LANE.get()
}
