//! Adds by name, from the thread that owns the replica: pending amounts as plain numbers, which the
//! next flush turns into cells.

use crate::error::WriteError;
use crate::lattice::cell::amounts::{AMOUNT_MAX, Amounts};
use crate::pending::slot::{AMOUNT, CLOSED, FULL, Fullness, PENDING_MAX, refusal, with_ended};

/// The capacity that the dirty list keeps after a flush.
const DIRTY_KEPT: usize = 64;

/// Pending amounts by the number of the handle. Adds to one counter before a flush become one
/// version.
#[derive(Debug, Default)]
pub(crate) struct LocalAdds {
    /// Each part is an amount plus the bits of [`CLOSED`], which refuse adds.
    pending: Vec<Amounts>,
    /// Handles with something pending. A handle with both parts pending is listed twice.
    dirty: Vec<u32>,
}

/// The total that an add raises.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Increments,
    Decrements,
}

impl Side {
    /// The total that a signed amount raises.
    pub(crate) fn of(amount: i64) -> Self {
        if amount > 0 { Self::Increments } else { Self::Decrements }
    }
}

impl LocalAdds {
    /// Number of handles with a slot. Later handles have nothing pending by name.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Makes room for another handle.
    pub(crate) fn push(&mut self) {
        self.pending.push(Amounts::default());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.dirty.is_empty()
    }

    /// An upper bound on the handles with something pending.
    pub(crate) fn dirty_count(&self) -> usize {
        self.dirty.len()
    }

    pub(crate) fn pending(&self, at: usize) -> Amounts {
        let Amounts { increments, decrements } = self.pending.get(at).copied().unwrap_or_default();
        Amounts { increments: increments & AMOUNT, decrements: decrements & AMOUNT }
    }

    #[inline]
    pub(crate) fn raise(&mut self, at: usize, side: Side, amount: u64) -> Result<(), WriteError> {
        if amount.wrapping_sub(1) >= AMOUNT_MAX {
            return Err(WriteError::AmountOutOfRange);
        }
        let amounts = &mut self.pending[at];
        let pending = match side {
            Side::Increments => &mut amounts.increments,
            Side::Decrements => &mut amounts.decrements,
        };
        if *pending == 0 {
            self.dirty.push(at as u32);
        } else if *pending >= PENDING_MAX {
            return Err(refusal(*pending));
        }
        *pending += amount;
        Ok(())
    }

    /// Checks that [`raise`](Self::raise) would accept an amount.
    pub(crate) fn check(&self, at: usize, side: Side) -> Result<(), WriteError> {
        let amounts = self.pending[at];
        let pending = match side {
            Side::Increments => amounts.increments,
            Side::Decrements => amounts.decrements,
        };
        if pending < PENDING_MAX { Ok(()) } else { Err(refusal(pending)) }
    }

    /// Adds an amount that [`check`](Self::check) accepted. Other amounts may have been added
    /// since.
    pub(crate) fn put(&mut self, at: usize, side: Side, amount: u64) {
        let amounts = &mut self.pending[at];
        let pending = match side {
            Side::Increments => &mut amounts.increments,
            Side::Decrements => &mut amounts.decrements,
        };
        if *pending == 0 {
            self.dirty.push(at as u32);
        }
        *pending += amount;
    }

    /// Takes the pending amounts, handle by handle. `each` returns which parts of the cell are full
    /// now.
    #[inline]
    pub(crate) fn drain(&mut self, mut each: impl FnMut(usize, Amounts) -> Fullness) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for at in dirty.drain(..) {
            let amounts = self.take(at as usize);
            if amounts != Amounts::default() {
                let full = each(at as usize, amounts);
                self.close(at as usize, full);
            }
        }
        dirty.shrink_to(DIRTY_KEPT);
        self.dirty = dirty;
    }

    /// Takes the pending amounts of one handle. It stays in the dirty list, with nothing pending.
    pub(crate) fn take(&mut self, at: usize) -> Amounts {
        let amounts = self.pending(at);
        if let Some(pending) = self.pending.get_mut(at) {
            pending.increments &= CLOSED;
            pending.decrements &= CLOSED;
        }
        amounts
    }

    /// Refuses adds because the counter has expired, or accepts them again.
    pub(crate) fn set_ended(&mut self, at: usize, is_ended: bool) {
        if let Some(pending) = self.pending.get_mut(at) {
            pending.increments = with_ended(pending.increments, is_ended);
            pending.decrements = with_ended(pending.decrements, is_ended);
        }
    }

    /// Empties a handle's amounts, [`CLOSED`] included, for another counter.
    pub(crate) fn reopen(&mut self, at: usize) {
        if let Some(pending) = self.pending.get_mut(at) {
            *pending = Amounts::default();
        }
    }

    /// Refuses adds to the parts that are full.
    pub(crate) fn close(&mut self, at: usize, full: Fullness) {
        let Some(pending) = self.pending.get_mut(at) else { return };
        pending.increments |= if full.increments_full { FULL } else { 0 };
        pending.decrements |= if full.decrements_full { FULL } else { 0 };
    }
}
