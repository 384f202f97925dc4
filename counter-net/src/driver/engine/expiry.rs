//! Ends counters and window buckets whose time is over by this machine's clock.

use std::time::Duration;

use super::Driver;
use crate::protocol::Input;
use crate::shared::now_ms;

/// The most counters that end under one lock: a few milliseconds of work.
const EXPIRED_A_STEP: usize = 2_000;

/// The most expired buckets that a sweep looks at, for the same reason.
const BUCKETS_A_SWEEP: usize = 2_000;

impl Driver {
    /// Ends the counters whose time is over, and publishes that.
    pub(super) fn expire_counters(&mut self) {
        let mut state = self.shared.write();
        let changed = state.replica.expire(now_ms(), EXPIRED_A_STEP);
        let names = changed.iter().map(|key| state.replica.map().name_of(*key));
        if !changed.is_empty() {
            self.shared.subscribers.state_changed(names);
        }
        drop(state);
        if !changed.is_empty() {
            self.shared.state_changed();
        }
        // It also asks when the next counter is due.
        self.feed(Input::LocalChange);
    }

    /// Drops own cells of expired buckets. True if there were some.
    pub(super) fn drop_expired_buckets(&mut self) -> bool {
        let mut state = self.shared.write();
        let expired = &mut self.expired_buckets;
        let dropped = state.replica.drop_expired(expired, now_ms(), BUCKETS_A_SWEEP);
        drop(state);
        if !dropped.is_empty() {
            self.shared.state_changed();
        }
        !dropped.is_empty()
    }
}

/// The time of an expiry on the clock of `now`. It is asked for at every step, at least once a
/// second, because this machine's clock may be set.
pub(super) fn due_at(expires_at: u64, now_ms: u64, now: Duration) -> Duration {
    now.saturating_add(Duration::from_millis(expires_at.saturating_sub(now_ms)))
}
