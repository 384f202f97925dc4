//! The slot of one counter in one lane: its pending amounts, and where they lie.

use crate::error::WriteError;
use crate::lattice::amounts::Amounts;
use crate::pending::bitmap::{BITS, WORDS};
use crate::pending::sync::{AtomicU64, Ordering};

/// Counters in a block: one for each bit of a bitmap.
pub(crate) const BLOCK_SLOTS: usize = WORDS * BITS;

/// Adds are refused once a part of a slot has this much pending; each thread can pass it by one
/// add. Far above a flush interval's adds, and far below the point where sums wrap.
pub(crate) const PENDING_MAX: u64 = 1 << 56;

/// Bit in a pending amount whose cell has no room for another flush. Every add is refused from then
/// on.
pub(crate) const FULL: u64 = 1 << 62;

/// Spins between the two reads of a contention check: some 50 ns, in which a thread that adds
/// without pause adds again.
const CONTENTION_SPINS: usize = 4;

/// The parts of a cell that have no room for another flush.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fullness {
    pub(crate) increments_full: bool,
    pub(crate) decrements_full: bool,
}

#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) increments: AtomicU64,
    pub(crate) decrements: AtomicU64,
}

impl Slot {
    /// The pending amounts.
    pub(crate) fn amounts(&self) -> Amounts {
        let part = |pending: &AtomicU64| pending.load(Ordering::Acquire) & (FULL - 1);
        Amounts { increments: part(&self.increments), decrements: part(&self.decrements) }
    }

    /// Takes the pending amounts.
    pub(crate) fn take(&self) -> Amounts {
        Amounts { increments: take(&self.increments), decrements: take(&self.decrements) }
    }

    /// Empties the slot, [`FULL`] included.
    pub(crate) fn reopen(&self) {
        self.increments.store(0, Ordering::Release);
        self.decrements.store(0, Ordering::Release);
    }

    /// Sets [`FULL`] where there is no room.
    pub(crate) fn close(&self, full: Fullness) {
        let close = |pending: &AtomicU64, full: bool| {
            _ = full.then(|| pending.fetch_or(FULL, Ordering::AcqRel))
        };
        close(&self.increments, full.increments_full);
        close(&self.decrements, full.decrements_full);
    }

    /// The parts that are [`FULL`].
    pub(crate) fn full(&self) -> Fullness {
        let is_full = |pending: &AtomicU64| pending.load(Ordering::Acquire) & FULL != 0;
        Fullness {
            increments_full: is_full(&self.increments),
            decrements_full: is_full(&self.decrements),
        }
    }

    /// True if another thread adds here right now.
    pub(crate) fn is_contended(&self) -> bool {
        let amounts =
            || (self.increments.load(Ordering::Relaxed), self.decrements.load(Ordering::Relaxed));
        let seen = amounts();
        (0..CONTENTION_SPINS).for_each(|_| std::hint::spin_loop());
        amounts() != seen
    }
}

/// Only a flush sets FULL, and one flush runs at a time, so the bit that was read stays.
fn take(pending: &AtomicU64) -> u64 {
    match pending.load(Ordering::Acquire) {
        seen if seen & (FULL - 1) == 0 => 0,
        seen => pending.swap(seen & FULL, Ordering::AcqRel) & (FULL - 1),
    }
}

/// Refuses before it adds: a flush could already have taken an amount that was there for a moment.
#[cold]
pub(crate) fn refuse_beyond(pending: &AtomicU64) -> Result<(), WriteError> {
    match pending.load(Ordering::Acquire) {
        seen if seen & FULL != 0 => Err(WriteError::CellFull),
        seen if seen >= PENDING_MAX => Err(WriteError::NotFlushed),
        _ => Ok(()),
    }
}

/// Slots from one counter to the next: 128 bytes, which processors fetch at once.
#[cfg(not(loom))]
const SLOT_STRIDE: usize = 8;
#[cfg(loom)]
const SLOT_STRIDE: usize = 2;

/// Counters that one pass places across the block. The next pass fills the slots right after them.
const COUNTERS_A_PASS: usize = BLOCK_SLOTS / SLOT_STRIDE;

/// The index of a counter's slot in each lane. Counters with neighbouring numbers lie 128 bytes
/// apart, so that threads that add to them do not slow each other. They lie no further apart, so
/// that a few dozen of them fit in a cache whose lines are chosen by the low bits of addresses.
#[derive(Clone, Copy)]
pub(crate) struct SlotIndex(u32);

impl SlotIndex {
    pub(crate) fn of(at: usize) -> Self {
        debug_assert!(at < BLOCK_SLOTS, "a counter lies in its block");
        Self(((at % COUNTERS_A_PASS) * SLOT_STRIDE + at / COUNTERS_A_PASS) as u32)
    }

    /// Its number in the block.
    pub(crate) fn at(self) -> usize {
        self.slot() / SLOT_STRIDE + (self.slot() % SLOT_STRIDE) * COUNTERS_A_PASS
    }

    #[inline]
    pub(crate) fn slot(self) -> usize {
        self.0 as usize % BLOCK_SLOTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_own_slot() {
        let mut places: Vec<usize> = (0..BLOCK_SLOTS).map(|at| SlotIndex::of(at).slot()).collect();
        assert!((0..BLOCK_SLOTS).all(|at| SlotIndex::of(at).at() == at));
        places.sort_unstable();
        assert!(places.into_iter().eq(0..BLOCK_SLOTS));
    }
}
