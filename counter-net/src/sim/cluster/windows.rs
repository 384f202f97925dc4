//! Windows: an add goes to a bucket, and each node drops its own cells of expired buckets.
//!
//! A bucket stays for a minute after its expiry, and a story takes some ten seconds. So the clocks
//! that choose buckets run faster than the world's.

use std::time::Duration;

use counter_core::WindowWidth;

use super::Sim;
use super::expiry::{AHEAD_MAX, START_MS};

/// A window has four buckets of twenty seconds.
const BUCKET_MS: u64 = 20_000;
const BUCKETS: u64 = 4;
const WIDTH: WindowWidth = WindowWidth::new(BUCKET_MS, BUCKETS).expect("a width in its bounds");
/// How much faster the clocks of windows run.
const SPEED: u64 = 40;
/// The time between two sweeps of a node.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
/// The expired buckets that a sweep looks at: few, so that some wait.
const BUCKETS_A_SWEEP: usize = 2;

impl Sim {
    /// The time by the clock of a node that chooses buckets. Two nodes may be two seconds apart.
    fn window_clock_ms(&self, host: usize) -> u64 {
        START_MS + self.now.as_millis() as u64 * SPEED + host as u64 * 1_337 % AHEAD_MAX
    }

    /// The name of a window's current bucket, by a node's clock: that of a counter of its own.
    pub(in crate::sim) fn bucket_of(&self, host: usize, window: &str) -> String {
        let expires_at = (self.window_clock_ms(host) / BUCKET_MS + BUCKETS) * BUCKET_MS;
        format!("\u{1}w{expires_at:014}{BUCKET_MS:x}/{BUCKETS:x}:{window}")
    }

    /// Adds to the current bucket of a window. True if the node took it.
    pub(in crate::sim) fn add_to_window_unwatched(
        &mut self,
        host: usize,
        window: &str,
        amount: u64,
    ) -> bool {
        let now_ms = self.window_clock_ms(host);
        let Some(alive) = self.hosts[host].alive.as_mut() else { return false };
        alive.replica.add_to_window(window, WIDTH, amount, now_ms).is_ok()
    }

    /// Drops a node's own cells of expired buckets, as the driver does. In a story the ledger is
    /// told the adds that each dropped cell had.
    pub(super) fn drop_expired_buckets(&mut self, host: usize) {
        let now = self.now;
        let Some(alive) = self.hosts[host].alive.as_mut() else { return };
        if !self.config.windows || now < alive.next_sweep {
            return;
        }
        alive.next_sweep = now + SWEEP_INTERVAL;
        let now_ms = self.window_clock_ms(host);
        self.drop_cells(host, |alive| {
            alive.replica.drop_expired(&mut alive.expired_buckets, now_ms, BUCKETS_A_SWEEP)
        });
    }

    /// True if a node holds a bucket of a window, or its name.
    pub(in crate::sim) fn has_buckets(&self, host: usize) -> bool {
        self.map(host).is_some_and(|map| map.counters().any(|name| name.starts_with("\u{1}w")))
    }
}
