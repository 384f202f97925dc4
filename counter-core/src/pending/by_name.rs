//! Adding from the thread that has the replica: pending amounts as plain numbers, drained into
//! cells at a flush, and what is written at once.

use std::collections::BTreeSet;

use crate::error::WriteError;
use crate::lattice::amounts::{AMOUNT_MAX, Amounts};
use crate::lattice::keys::KeyId;
use crate::lattice::versions::vector::Version;
use crate::pending::slot::{FULL, PENDING_MAX, Room};

/// What was written outside a flush and the next flush has to tell of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unflushed {
    /// The own version before the first of it.
    pub(crate) after: Option<Version>,
    pub(crate) changed: BTreeSet<KeyId>,
}

impl Unflushed {
    pub(crate) fn is_empty(&self) -> bool {
        self.after.is_none()
    }
}

/// Marks for which there is room again without asking for memory.
const MARKED_KEPT: usize = 64;

/// Pending amounts by handle. Adds to the same counter before a flush come to one version.
#[derive(Debug, Default)]
pub(crate) struct Local {
    /// A part has [`FULL`] set when its cell has no room for another flush.
    pending: Vec<Amounts>,
    /// Handles with something pending; one both of whose parts are is named twice.
    marked: Vec<u32>,
}

/// Which of the two totals is raised.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Increments,
    Decrements,
}

impl Local {
    /// How many handles there is room for: those from here on have nothing pending.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Makes room for another handle.
    pub(crate) fn push(&mut self) {
        self.pending.push(Amounts::default());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.marked.is_empty()
    }

    /// How many handles have something pending, at most.
    pub(crate) fn marked(&self) -> usize {
        self.marked.len()
    }

    pub(crate) fn pending(&self, at: usize) -> Amounts {
        let Amounts { increments, decrements } = self.pending.get(at).copied().unwrap_or_default();
        Amounts { increments: increments & (FULL - 1), decrements: decrements & (FULL - 1) }
    }

    #[inline]
    pub(crate) fn raise(&mut self, at: usize, part: Part, amount: u64) -> Result<(), WriteError> {
        if amount.wrapping_sub(1) >= AMOUNT_MAX {
            return Err(WriteError::AmountOutOfRange);
        }
        let amounts = &mut self.pending[at];
        let pending = match part {
            Part::Increments => &mut amounts.increments,
            Part::Decrements => &mut amounts.decrements,
        };
        if *pending == 0 {
            self.marked.push(at as u32);
        } else if *pending >= PENDING_MAX {
            return Err(if *pending & FULL == 0 {
                WriteError::NotFlushed
            } else {
                WriteError::CellFull
            });
        }
        *pending += amount;
        Ok(())
    }

    /// Takes what is pending, handle by handle; `each` says whether a part of its cell is full now.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(usize, Amounts) -> Room) {
        let mut marked = std::mem::take(&mut self.marked);
        for at in marked.drain(..) {
            let amounts = self.take(at as usize);
            if amounts != Amounts::default() {
                let room = each(at as usize, amounts);
                self.close(at as usize, room);
            }
        }
        marked.shrink_to(MARKED_KEPT);
        self.marked = marked;
    }

    /// Takes what is pending of one handle; its marks stay and find nothing.
    pub(crate) fn take(&mut self, at: usize) -> Amounts {
        let amounts = self.pending(at);
        if let Some(pending) = self.pending.get_mut(at) {
            pending.increments &= FULL;
            pending.decrements &= FULL;
        }
        amounts
    }

    /// Refuses adds to the parts that are full.
    pub(crate) fn close(&mut self, at: usize, room: Room) {
        let Some(pending) = self.pending.get_mut(at) else { return };
        pending.increments |= if room.increments_full { FULL } else { 0 };
        pending.decrements |= if room.decrements_full { FULL } else { 0 };
    }
}
