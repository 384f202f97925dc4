//! Counters that end at a set time.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::counter::Counter;
use crate::error::AddError;
use crate::shared::{Shared, ms_since_1970};

/// Opens a counter that ends at `expires_at`, or later if it already ends later.
pub(super) fn counter_until(
    shared: &Arc<Shared>,
    name: &str,
    expires_at: SystemTime,
) -> Result<Counter, AddError> {
    let mut state = shared.write();
    // Checked under the lock: the last flush takes it after it has closed the gate.
    shared.gate.check()?;
    state.replica.expire_at(name, ms_since_1970(expires_at).max(1))?;
    drop(state);
    shared.wakes.local.notify_one();
    Counter::open(Arc::clone(shared), name)
}

/// When a counter ends.
pub(super) fn expires_at(shared: &Shared, name: &str) -> Option<SystemTime> {
    let at = shared.read().replica.map().expires_at(name)?;
    UNIX_EPOCH.checked_add(Duration::from_millis(at))
}
