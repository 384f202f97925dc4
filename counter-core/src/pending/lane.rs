//! The lane in which a thread adds. Threads are assigned to lanes in turn.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Lanes of a counter's pending amounts. With more lanes, more processors can add to one counter
/// without slowing each other down. Each lane that exists costs 16 bytes per counter.
#[cfg(not(loom))]
pub(crate) const LANES: usize = 4;
#[cfg(loom)]
pub(crate) const LANES: usize = 2;

thread_local! {
    /// [`LANES`] until the thread is given a lane.
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
