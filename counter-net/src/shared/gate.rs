//! The gate that adds pass: one load before each add, and one after it.

use std::sync::atomic::{AtomicU8, Ordering};

use counter_core::WriteError;

use crate::error::AddError;

/// The node has stopped. Never cleared.
const STOPPED: u8 = 1;
/// The store cannot be written at present.
const FAILING: u8 = 2;

/// Refuses adds while it is closed. Has its own cache line, because every add reads it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Gate(AtomicU8);

impl Gate {
    /// Adds, unless the gate is closed. If the gate is closed for good meanwhile, this returns
    /// [`AddError::Stopped`], and the add may be counted or not. An add that returned `Ok` happened
    /// before [`stop`](Self::stop) and [`counter_core::Replica::hand_over`], so the last flush has
    /// it.
    #[inline]
    pub(crate) fn pass(
        &self,
        add: impl FnOnce() -> Result<(), WriteError>,
    ) -> Result<(), AddError> {
        self.check()?;
        add()?;
        // Sequentially consistent like the add, so that this load comes after it.
        if self.0.load(Ordering::SeqCst) & STOPPED == 0 { Ok(()) } else { Err(AddError::Stopped) }
    }

    /// Checks that the gate is open.
    ///
    /// # Errors
    ///
    /// The reason why the node takes no adds.
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

    /// Closes the gate for good.
    pub(crate) fn stop(&self) {
        self.0.fetch_or(STOPPED, Ordering::SeqCst);
    }

    /// Closes the gate while the store fails.
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
