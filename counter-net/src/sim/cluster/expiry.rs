//! Counters that expire. Each node decides when by a clock of its own, up to two seconds ahead.

use std::time::Duration;

use counter_core::KeyId;

use super::Sim;
use super::host::Alive;
use crate::protocol::Input;

/// The time at which every world begins, in milliseconds since 1970.
pub(super) const START_MS: u64 = 1_700_000_000_000;
/// The most by which a node's clock is ahead, in milliseconds.
pub(super) const AHEAD_MAX: u64 = 2_000;
/// The counters that a node ends at once: few, so that some wait.
const EXPIRED_AT_ONCE: usize = 2;

impl Sim {
    /// The time by a node's own clock.
    fn clock_ms(&self, host: usize) -> u64 {
        START_MS + self.now.as_millis() as u64 + host as u64 * 1_337 % AHEAD_MAX
    }

    /// Sets a node's time, and ends its counters that are due, as the driver does. In a story the
    /// ledger gets the adds that each dropped cell had.
    pub(super) fn expire(&mut self, host: usize) {
        let now_ms = self.clock_ms(host);
        let Some(alive) = self.hosts[host].alive.as_mut() else { return };
        alive.replica.set_time(now_ms);
        if alive.replica.next_expiry(now_ms).is_none_or(|at| at > now_ms) {
            return;
        }
        self.drop_cells(host, |alive| alive.replica.expire(now_ms, EXPIRED_AT_ONCE));
    }

    /// Has a node drop own cells, and hands it its change if it did.
    pub(super) fn drop_cells(&mut self, host: usize, drop: impl FnOnce(&mut Alive) -> Vec<KeyId>) {
        let Some(alive) = self.hosts[host].alive.as_mut() else { return };
        // The ledger must look at pending adds before they are dropped.
        alive.replica.flush();
        self.look(host);
        let Some(alive) = self.hosts[host].alive.as_mut() else { return };
        let cells = self.ledger.as_ref().map(|ledger| ledger.own_cells(&alive.replica));
        let changed = drop(alive);
        if let (Some(ledger), Some(cells)) = (self.ledger.as_mut(), cells) {
            ledger.expired(&alive.replica, &cells);
        }
        self.look(host);
        if !changed.is_empty() {
            self.hand(host, Input::LocalChange, None);
        }
    }

    /// Has a counter end so long after now, by the node's clock. Nothing happens if it refuses.
    pub(in crate::sim) fn expire_after(&mut self, host: usize, counter: &str, after: Duration) {
        let at = self.clock_ms(host) + after.as_millis() as u64;
        let Some(alive) = self.hosts[host].alive.as_mut() else { return };
        let _refused = alive.replica.expire_at(counter, at);
        self.hand(host, Input::LocalChange, None);
    }

    /// True if a node knows counters that end, or refuses adds to one that has ended.
    pub(in crate::sim) fn has_expiries(&self, host: usize) -> bool {
        let alive = self.hosts[host].alive.as_ref();
        alive.is_some_and(|alive| alive.replica.next_expiry(self.clock_ms(host)).is_some())
    }
}
