//! Decides when this node announces itself, and whether its addresses go along.

use std::time::Duration;

/// Announcements carry this node's addresses for this long after they changed. They cost about 60
/// bytes each.
const ADDRESSES_FOR: Duration = Duration::from_secs(20);

/// Paces this node's announcements. It delays neither a refutation nor a leave.
#[derive(Debug)]
pub(crate) struct Announcer {
    not_before: Duration,
    addresses_until: Duration,
}

impl Announcer {
    pub(crate) fn new(now: Duration) -> Self {
        Self { not_before: now, addresses_until: now }
    }

    /// When the next announcement may go out.
    pub(super) fn next(&self, now: Duration) -> Duration {
        now.max(self.not_before)
    }

    /// No announcement goes out before `at`.
    pub(crate) fn wait_until(&mut self, at: Duration) {
        self.not_before = self.not_before.max(at);
    }

    /// An announcement goes out now. The next one waits for `interval`.
    pub(super) fn announced(&mut self, now: Duration, interval: Duration) {
        self.not_before = now + interval;
    }

    /// This node listens elsewhere now.
    pub(super) fn addresses_changed(&mut self, now: Duration) {
        self.addresses_until = now + ADDRESSES_FOR;
    }

    /// True while announcements carry addresses. After that every member has them, and hands them
    /// to newcomers.
    pub(super) fn carries_addresses(&self, now: Duration) -> bool {
        now < self.addresses_until
    }
}
