//! The gate that adds pass: one load before each add, and one after it.

use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use counter_core::WriteError;

use crate::error::AddError;

/// The node has stopped. Never cleared.
const STOPPED: u8 = 1;
/// The store cannot be written at present.
const FAILING: u8 = 2;

/// Refuses adds while it is closed. Has its own cache line, because every add reads it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Gate {
    /// 0 while the gate is open.
    closed: AtomicU8,
    /// The system's error of the failing store; 0 if there is none.
    os_error: AtomicI32,
}

impl Gate {
    /// Adds, unless the gate is closed. If the gate is closed for good meanwhile, this returns
    /// [`AddError::MaybeAdded`]: the last flush may have come before the add or after it. An add
    /// that returned `Ok` happened before [`stop`](Self::stop) and
    /// [`counter_core::Replica::hand_over`], so the last flush has it.
    #[inline]
    pub(crate) fn pass(
        &self,
        add: impl FnOnce() -> Result<(), WriteError>,
    ) -> Result<(), AddError> {
        self.check()?;
        add()?;
        // Sequentially consistent like the add, so that this load comes after it.
        if self.is_stopped() { Err(AddError::MaybeAdded) } else { Ok(()) }
    }

    /// Checks that the gate is open.
    ///
    /// # Errors
    ///
    /// The reason why the node takes no adds.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), AddError> {
        match self.closed.load(Ordering::Relaxed) {
            0 => Ok(()),
            closed => Err(self.refusal(closed)),
        }
    }

    #[inline]
    pub(crate) fn is_stopped(&self) -> bool {
        self.closed.load(Ordering::SeqCst) & STOPPED != 0
    }

    /// Closes the gate for good.
    pub(crate) fn stop(&self) {
        self.closed.fetch_or(STOPPED, Ordering::SeqCst);
    }

    /// Closes the gate while the store fails. `os_error` is the system's reason, if there is one.
    pub(crate) fn store_fails(&self, os_error: Option<i32>) {
        self.os_error.store(os_error.unwrap_or(0), Ordering::Relaxed);
        self.closed.fetch_or(FAILING, Ordering::Relaxed);
    }

    /// Opens the gate again after [`store_fails`](Self::store_fails).
    pub(crate) fn store_works(&self) {
        self.closed.fetch_and(!FAILING, Ordering::Relaxed);
    }

    #[cold]
    fn refusal(&self, closed: u8) -> AddError {
        if closed & STOPPED != 0 {
            return AddError::Stopped;
        }
        let code = self.os_error.load(Ordering::Relaxed);
        AddError::StoreFailing { os_error: (code != 0).then_some(code) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_add_that_began_before_the_stop_is_unsure() {
        let gate = Gate::default();
        assert_eq!(gate.pass(|| Ok(())), Ok(()));
        let stopped_meanwhile = || {
            gate.stop();
            Ok(())
        };
        assert_eq!(gate.pass(stopped_meanwhile), Err(AddError::MaybeAdded));
        assert_eq!(gate.pass(|| unreachable!("the gate is closed")), Err(AddError::Stopped));
        let refused = WriteError::AmountOutOfRange;
        let refused_meanwhile = Gate::default().pass(|| Err(refused));
        assert_eq!(refused_meanwhile, Err(AddError::Refused(refused)), "nothing was added");
    }

    #[test]
    fn refusal_names_the_failing_disk() {
        let gate = Gate::default();
        gate.store_fails(Some(28));
        let error = gate.check().unwrap_err();
        assert_eq!(error, AddError::StoreFailing { os_error: Some(28) });
        assert!(error.to_string().contains("No space left on device"), "{error}");
        gate.store_fails(None);
        assert_eq!(gate.check(), Err(AddError::StoreFailing { os_error: None }));
        gate.store_works();
        assert_eq!(gate.check(), Ok(()));
    }
}
