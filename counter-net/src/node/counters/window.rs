//! Sliding windows: counts of recent adds, and limits on them.

use std::sync::Arc;
use std::time::Duration;

use counter_core::WindowWidth;

use crate::error::AddError;
use crate::shared::{Shared, now_ms};

/// Buckets of a window. A limit is exact to a tenth of its window.
const BUCKETS: u64 = 10;

/// A sliding window over the adds of all regions; see [`Node::window`](crate::Node::window).
#[derive(Clone)]
pub struct Window {
    name: Arc<str>,
    width: WindowWidth,
    shared: Arc<Shared>,
}

/// The answer of [`Window::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitCheck {
    /// True if the amount was within the limit. Only then was it added.
    pub allowed: bool,
    /// Amount still allowed.
    pub remaining: u64,
    /// Time until a retry can succeed. The whole window if the amount alone is over the limit, and
    /// zero if the amount was added.
    pub retry_after: Duration,
}

impl Window {
    pub(super) fn new(shared: Arc<Shared>, name: &str, within: Duration) -> Option<Self> {
        let bucket_ms = u64::try_from(within.as_millis()).ok()?.div_ceil(BUCKETS);
        let width = WindowWidth::new(bucket_ms, BUCKETS)?;
        Some(Self { name: name.into(), width, shared })
    }

    /// Adds `amount` now, by this node's clock.
    ///
    /// # Errors
    ///
    /// As for [`Counter::add_once`](crate::Counter::add_once), and if the name is not that of a
    /// counter. Nothing was added.
    ///
    /// # Complexity
    ///
    /// A short exclusive lock.
    pub fn add(&self, amount: u64) -> Result<(), AddError> {
        let mut state = self.shared.write();
        self.shared.gate.check()?;
        state.replica.add_to_window(&self.name, self.width, amount, now_ms())?;
        drop(state);
        self.added();
        Ok(())
    }

    /// Returns the sum over the window, of all regions that this node knows.
    ///
    /// The window ends now and slides in steps of a tenth of its width. Adds of other regions count
    /// as soon as they arrive, by the clocks of the nodes that took them.
    ///
    /// # Complexity
    ///
    /// A short shared lock, and a look-up for each tenth of the window.
    pub fn total(&self) -> i128 {
        self.shared.read().replica.window_total(&self.name, self.width, now_ms())
    }

    /// Adds `amount` if the total of the window then is at most `limit`.
    ///
    /// The limit is soft across regions: nodes do not wait for each other, so two of them may both
    /// allow the last one. Each sees the other's adds once they have arrived.
    ///
    /// # Errors
    ///
    /// As for [`add`](Self::add). Nothing was added.
    ///
    /// # Complexity
    ///
    /// A short exclusive lock, and a look-up for each tenth of the window.
    pub fn check(&self, amount: u64, limit: u64) -> Result<LimitCheck, AddError> {
        let mut state = self.shared.write();
        self.shared.gate.check()?;
        let now = now_ms();
        let buckets: Vec<(u64, i128)> =
            state.replica.window_buckets(&self.name, self.width, now).collect();
        let total: i128 = buckets.iter().map(|bucket| bucket.1).sum();
        let room = i128::from(limit) - total;
        let remaining = u64::try_from(room.max(0)).unwrap_or(u64::MAX);
        if i128::from(amount) > room {
            let mut left = total;
            let expires_at = buckets.iter().find_map(|(expires_at, bucket)| {
                left -= bucket;
                (left + i128::from(amount) <= i128::from(limit)).then_some(*expires_at)
            });
            let wait = expires_at.map_or(self.width.all_ms(), |at| at.saturating_sub(now));
            let retry_after = Duration::from_millis(wait);
            return Ok(LimitCheck { allowed: false, remaining, retry_after });
        }
        state.replica.add_to_window(&self.name, self.width, amount, now)?;
        drop(state);
        self.added();
        let remaining = remaining.saturating_sub(amount);
        Ok(LimitCheck { allowed: true, remaining, retry_after: Duration::ZERO })
    }

    fn added(&self) {
        self.shared.metrics.added();
        self.shared.wakes.local.notify_one();
    }
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window").field("name", &self.name).finish_non_exhaustive()
    }
}
