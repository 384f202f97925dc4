//! What is pending of one counter in one lane, and where it lies there.

use crate::error::WriteError;
use crate::lattice::amounts::Amounts;
use crate::pending::bitmap::{BITS, WORDS};
use crate::pending::sync::{AtomicU64, Ordering};

/// Counters whose slots lie together: as many as a bitmap marks.
pub(crate) const CHUNK: usize = WORDS * BITS;

/// What a flush may find pending of one part of one counter in one lane, but for one add more a
/// thread. Far above what comes together between two flushes, far below what would wrap.
pub(crate) const PENDING_MAX: u64 = 1 << 56;

/// Set in a pending amount when its cell has no room for another flush: every add is refused from
/// then on.
pub(crate) const FULL: u64 = 1 << 62;

/// How long a look lasts, in turns of a waiting loop: some 50 ns, in which another thread adds if
/// it does so without pause.
const LOOK: usize = 4;

/// Which parts of a cell have no room for another flush.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Room {
    pub(crate) increments_full: bool,
    pub(crate) decrements_full: bool,
}

#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) increments: AtomicU64,
    pub(crate) decrements: AtomicU64,
}

impl Slot {
    /// What is pending.
    pub(crate) fn amounts(&self) -> Amounts {
        let part = |pending: &AtomicU64| pending.load(Ordering::Acquire) & (FULL - 1);
        Amounts { increments: part(&self.increments), decrements: part(&self.decrements) }
    }

    /// What was pending; nothing is, afterwards.
    pub(crate) fn take(&self) -> Amounts {
        Amounts { increments: take(&self.increments), decrements: take(&self.decrements) }
    }

    /// Sets [`FULL`] where there is no room.
    pub(crate) fn close(&self, room: Room) {
        let close = |pending: &AtomicU64, full: bool| {
            _ = full.then(|| pending.fetch_or(FULL, Ordering::AcqRel))
        };
        close(&self.increments, room.increments_full);
        close(&self.decrements, room.decrements_full);
    }

    /// Which parts are [`FULL`].
    pub(crate) fn room(&self) -> Room {
        let is_full = |pending: &AtomicU64| pending.load(Ordering::Acquire) & FULL != 0;
        Room {
            increments_full: is_full(&self.increments),
            decrements_full: is_full(&self.decrements),
        }
    }

    /// Whether somebody adds here just now.
    pub(crate) fn moves(&self) -> bool {
        let amounts =
            || (self.increments.load(Ordering::Relaxed), self.decrements.load(Ordering::Relaxed));
        let seen = amounts();
        (0..LOOK).for_each(|_| std::hint::spin_loop());
        amounts() != seen
    }
}

/// Only a flush sets FULL, and one flush runs at a time: what is seen of it stays.
fn take(pending: &AtomicU64) -> u64 {
    match pending.load(Ordering::Acquire) {
        seen if seen & (FULL - 1) == 0 => 0,
        seen => pending.swap(seen & FULL, Ordering::AcqRel) & (FULL - 1),
    }
}

/// Refuses before anything is added: an amount that was there for a moment could be in a flush
/// already.
#[cold]
pub(crate) fn refuse_beyond(pending: &AtomicU64) -> Result<(), WriteError> {
    match pending.load(Ordering::Acquire) {
        seen if seen & FULL != 0 => Err(WriteError::CellFull),
        seen if seen >= PENDING_MAX => Err(WriteError::NotFlushed),
        _ => Ok(()),
    }
}

/// Slots of 128 bytes, which is what processors fetch at once.
#[cfg(not(loom))]
const APART: usize = 8;
#[cfg(loom)]
const APART: usize = 2;

/// How many counters follow each other until one lies beside the first.
const ROUND: usize = CHUNK / APART;

/// Where a counter's slots are in their lanes. Neighbours in number lie 128 bytes apart, so that
/// threads that add to them do not slow each other, and no further, so that a few dozen of them
/// find room in a cache whose lines are chosen by the low bits of addresses.
#[derive(Clone, Copy)]
pub(crate) struct Place(u32);

impl Place {
    pub(crate) fn of(at: usize) -> Self {
        debug_assert!(at < CHUNK, "a counter lies in its block");
        Self(((at % ROUND) * APART + at / ROUND) as u32)
    }

    /// Its number in the block.
    pub(crate) fn at(self) -> usize {
        self.slot() / APART + (self.slot() % APART) * ROUND
    }

    #[inline]
    pub(crate) fn slot(self) -> usize {
        self.0 as usize % CHUNK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_place_of_its_own_and_is_known_by_it() {
        let mut places: Vec<usize> = (0..CHUNK).map(|at| Place::of(at).slot()).collect();
        assert!((0..CHUNK).all(|at| Place::of(at).at() == at));
        places.sort_unstable();
        assert!(places.into_iter().eq(0..CHUNK));
    }
}
