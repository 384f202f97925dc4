//! Which lane a thread adds in: threads take turns at the lanes when they first add.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Lanes of a counter's pending amounts. More let more processors add to one counter without
/// slowing each other; each costs 16 bytes a counter where it is made.
#[cfg(not(loom))]
pub(crate) const LANES: usize = 4;
#[cfg(loom)]
pub(crate) const LANES: usize = 2;

thread_local! {
    /// [`LANES`] before the first add.
    static LANE: Cell<usize> = const { Cell::new(LANES) };
}

/// The calling thread's lane; [`LANES`] where it has none yet.
#[inline]
pub(crate) fn known_lane() -> usize {
    LANE.get()
}

/// The calling thread's lane, given now if it has none.
pub(crate) fn lane() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    if LANE.get() == LANES {
        LANE.set(NEXT.fetch_add(1, Ordering::Relaxed) % LANES);
    }
    LANE.get()
}
