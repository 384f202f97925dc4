//! Whether a node takes adds: one load in front of every add, and one behind it.

use std::sync::atomic::{AtomicU8, Ordering};

use counter_core::WriteError;

use crate::error::AddError;

/// The node has stopped. Never taken back.
const STOPPED: u8 = 1;
/// The store cannot be written at the moment.
const FAILING: u8 = 2;

/// Open at first. In a cache line of its own, since every add reads it and others write next to it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Gate(AtomicU8);

impl Gate {
    /// Adds, unless the gate is closed, and returns [`AddError::Stopped`] where it was closed for
    /// good meanwhile. Then the add may be counted or not. An add that returned Ok is counted
    /// before [`stop`](Self::stop) and [`counter_core::Replica::hand_over`], so the last flush has
    /// it.
    #[inline]
    pub(crate) fn pass(
        &self,
        add: impl FnOnce() -> Result<(), WriteError>,
    ) -> Result<(), AddError> {
        self.check()?;
        add()?;
        // Sequentially consistent, as the add is: this load does not run ahead of it.
        if self.0.load(Ordering::SeqCst) & STOPPED == 0 { Ok(()) } else { Err(AddError::Stopped) }
    }

    /// # Errors
    ///
    /// Why the node takes no adds.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), AddError> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            closed => Err(refusal(closed)),
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst) & STOPPED != 0
    }

    /// Closes it for good.
    pub(crate) fn stop(&self) {
        self.0.fetch_or(STOPPED, Ordering::SeqCst);
    }

    /// Closes it while the store fails.
    pub(crate) fn set_failing(&self, is_failing: bool) {
        if is_failing {
            self.0.fetch_or(FAILING, Ordering::Relaxed);
        } else {
            self.0.fetch_and(!FAILING, Ordering::Relaxed);
        }
    }
}

#[cold]
fn refusal(closed: u8) -> AddError {
    if closed & STOPPED != 0 { AddError::Stopped } else { AddError::StoreFailing }
}
