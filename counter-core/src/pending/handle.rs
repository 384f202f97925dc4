//! The public handle: adds to one counter from any thread, with one atomic addition.

use std::fmt;

use crate::error::WriteError;
use crate::lattice::cell::amounts::Amounts;
use crate::pending::block::Block;
use crate::pending::lane::known_lane;
use crate::pending::slot::SlotIndex;
use crate::pending::sync::Arc;

/// Adds to one counter of one replica from any thread, with one atomic addition and without
/// waiting.
///
/// Cheap to clone: 16 bytes and two reference counts. If the counter was removed, an add recreates
/// it. An add is in the replica's own reads at once, and in its cells after the next flush.
///
/// # Examples
/// ```
/// use counter_core::{WriteError, Replica, ReplicaId};
/// let mut ord = Replica::new(ReplicaId::new(1, 1), "ord")?;
/// let clicks = ord.counter("clicks")?;
/// std::thread::scope(|threads| {
///     threads.spawn(|| clicks.add(3));
///     threads.spawn(|| clicks.subtract(1));
/// });
/// assert_eq!((clicks.pending().net(), ord.total("clicks"), ord.map().total("clicks")), (2, 2, 0));
/// ord.flush();
/// assert_eq!((clicks.pending().net(), ord.total("clicks"), ord.map().total("clicks")), (0, 2, 2));
/// assert_eq!(clicks.add(0), Err(WriteError::AmountOutOfRange));
/// # Ok::<(), WriteError>(())
/// ```
pub struct CounterHandle {
    block: Arc<Block>,
    place: SlotIndex,
}

impl CounterHandle {
    pub(crate) fn new(block: Arc<Block>, at: usize) -> Self {
        let place = SlotIndex::of(at);
        block.add_handle(place);
        Self { place, block }
    }

    /// Adds `amount`, 1 to 2^32.
    ///
    /// # Complexity
    /// Wait-free: one `fetch_add`. The first add after a flush takes two more, and calls the wake.
    /// If threads often add to one counter at the same time, an add may allocate 64 KiB, at most
    /// three times per 4,096 counters.
    ///
    /// # Errors
    /// `AmountOutOfRange`, `CellFull`, `NotFlushed` or `Expired`. Nothing was added.
    #[inline]
    pub fn add(&self, amount: u64) -> Result<(), WriteError> {
        self.block.raise(known_lane, self.place, |slot| &slot.increments, amount)
    }

    /// Subtracts `amount`, 1 to 2^32, as [`add`](Self::add) adds.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    #[inline]
    pub fn subtract(&self, amount: u64) -> Result<(), WriteError> {
        self.block.raise(known_lane, self.place, |slot| &slot.decrements, amount)
    }

    /// Makes sure that the next flush takes everything this thread has added here.
    ///
    /// A flush misses an add for a moment if another thread added to the same counter first and has
    /// not reported it yet. Nothing is lost. But a caller that waits for its own add to be flushed
    /// must call this first.
    ///
    /// # Complexity
    /// Three atomic operations, and the wake if nothing was pending.
    pub fn hand_over(&self) {
        if self.pending() != Amounts::default() {
            self.block.force_report(self.place);
        }
    }

    /// The amounts added and subtracted since the last flush.
    pub fn pending(&self) -> Amounts {
        self.block.pending(self.place)
    }
}

#[cfg(all(loom, test))]
impl CounterHandle {
    /// Adds in a lane that the test chooses.
    pub(crate) fn add_in(&self, lane: usize, amount: u64) -> Result<(), WriteError> {
        self.block.raise(|| lane, self.place, |slot| &slot.increments, amount)
    }
}

impl Clone for CounterHandle {
    fn clone(&self) -> Self {
        self.block.add_handle(self.place);
        Self { block: self.block.clone(), place: self.place }
    }
}

impl Drop for CounterHandle {
    fn drop(&mut self) {
        self.block.drop_handle(self.place);
    }
}

impl fmt::Debug for CounterHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CounterHandle").field("pending", &self.pending()).finish_non_exhaustive()
    }
}
