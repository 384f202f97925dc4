//! The slot of one counter in one lane: its pending amounts, and where they lie.

use crate::error::WriteError;
use crate::lattice::cell::amounts::Amounts;
use crate::pending::bitmap::{BITS, WORDS};
use crate::pending::sync::{AtomicU64, Ordering};

/// Counters in a block: one for each bit of a bitmap.
pub(crate) const BLOCK_SLOTS: usize = WORDS * BITS;

/// Adds are refused once a part of a slot has this much pending; each thread can pass it by one
/// add. Far above a flush interval's adds, and far below the point where sums wrap.
pub(crate) const PENDING_MAX: u64 = 1 << 56;

/// Bit in a pending amount: its cell has no room for another flush. Adds are refused from then on.
pub(crate) const FULL: u64 = 1 << 62;

/// Bit in a pending amount: its counter has expired. Adds are refused while it is set.
const ENDED: u64 = 1 << 61;

/// The bits of a pending amount that refuse adds.
pub(crate) const CLOSED: u64 = FULL | ENDED;

/// The bits of a pending amount that count.
pub(crate) const AMOUNT: u64 = ENDED - 1;

/// Spins between the two reads of a contention check: about 50 ns. A thread that adds in a loop
/// adds again within that time.
const CONTENTION_SPINS: usize = 4;

/// The parts of a cell that have no room for another flush.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fullness {
    pub(crate) increments_full: bool,
    pub(crate) decrements_full: bool,
}

/// The pending amounts of one counter in one lane. Each part is an amount plus the bits of
/// [`CLOSED`].
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) increments: AtomicU64,
    pub(crate) decrements: AtomicU64,
}

impl Slot {
    /// The pending amounts.
    pub(crate) fn amounts(&self) -> Amounts {
        let part = |pending: &AtomicU64| pending.load(Ordering::Acquire) & AMOUNT;
        Amounts { increments: part(&self.increments), decrements: part(&self.decrements) }
    }

    /// Takes the pending amounts.
    pub(crate) fn take(&self) -> Amounts {
        Amounts { increments: take(&self.increments), decrements: take(&self.decrements) }
    }

    /// Empties the slot, [`CLOSED`] included.
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

    /// Refuses adds because the counter has expired, or accepts them again.
    pub(crate) fn set_ended(&self, is_ended: bool) {
        for pending in [&self.increments, &self.decrements] {
            match is_ended {
                true => pending.fetch_or(ENDED, Ordering::AcqRel),
                false => pending.fetch_and(!ENDED, Ordering::AcqRel),
            };
        }
    }

    /// Refuses the adds that another slot of the counter refuses.
    pub(crate) fn close_like(&self, other: &Self) {
        let close = |pending: &AtomicU64, other: &AtomicU64| {
            pending.fetch_or(other.load(Ordering::Acquire) & CLOSED, Ordering::AcqRel)
        };
        close(&self.increments, &other.increments);
        close(&self.decrements, &other.decrements);
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

/// Takes the amount and keeps the [`CLOSED`] bits. Only the replica's owner changes these bits, and
/// only it flushes, so they cannot change between the load and the swap.
fn take(pending: &AtomicU64) -> u64 {
    match pending.load(Ordering::Acquire) {
        seen if seen & AMOUNT == 0 => 0,
        seen => pending.swap(seen & CLOSED, Ordering::AcqRel) & AMOUNT,
    }
}

/// Checks a slot before an add. Adding first and undoing it would be wrong: a flush could take the
/// amount in between.
#[cold]
pub(crate) fn check_open(pending: &AtomicU64) -> Result<(), WriteError> {
    match pending.load(Ordering::Acquire) {
        much if much >= PENDING_MAX => Err(refusal(much)),
        _ => Ok(()),
    }
}

/// Why a part with this pending amount refuses adds: it is closed, or too much is pending.
#[cold]
pub(crate) fn refusal(pending: u64) -> WriteError {
    match pending {
        ended if ended & ENDED != 0 => WriteError::Expired,
        full if full & FULL != 0 => WriteError::CellFull,
        _ => WriteError::NotFlushed,
    }
}

/// The pending amount with the bit for an expired counter set or cleared.
pub(crate) fn with_ended(pending: u64, is_ended: bool) -> u64 {
    if is_ended { pending | ENDED } else { pending & !ENDED }
}

/// Slots from one counter to the next: 128 bytes, which processors fetch at once.
#[cfg(not(loom))]
const SLOT_STRIDE: usize = 8;
#[cfg(loom)]
const SLOT_STRIDE: usize = 2;

/// Counters that one pass places across the block. The next pass fills the slots right after
/// theirs.
const COUNTERS_PER_PASS: usize = BLOCK_SLOTS / SLOT_STRIDE;

/// The index of a counter's slot in each lane. Counters with neighbouring numbers lie 128 bytes
/// apart, so that threads that add to them do not slow each other down. They lie no further apart,
/// because a cache picks its lines by the low bits of addresses, and a few dozen neighbours must
/// fit in it.
#[derive(Clone, Copy)]
pub(crate) struct SlotIndex(u32);

impl SlotIndex {
    pub(crate) fn of(at: usize) -> Self {
        debug_assert!(at < BLOCK_SLOTS, "a counter lies in its block");
        Self(((at % COUNTERS_PER_PASS) * SLOT_STRIDE + at / COUNTERS_PER_PASS) as u32)
    }

    /// Its number in the block.
    pub(crate) fn at(self) -> usize {
        self.slot() / SLOT_STRIDE + (self.slot() % SLOT_STRIDE) * COUNTERS_PER_PASS
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
