//! Named deadlines. Each timer is set to one time or not at all, and the earliest is known at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::protocol::interface::NodeId;

/// The purpose of a deadline.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Timer {
    /// The flush interval is over and something is pending.
    Flush,
    /// The next round of anti-entropy.
    Round,
    /// The next announcement of this node.
    Announce,
    /// `ready_within` is over. A node that is still catching up serves what it has from now on.
    Ready,
    /// A target has to be proposed, checked or passed on.
    Confirm,
    /// A member may have to be dialled.
    Dial,
    /// A delta has waited beyond a gap for `gap_patience`, so the gap is pulled.
    Gap,
    /// The cells asked of a first peer did not come soon, so other peers are pulled from too.
    FirstPeerWait,
    /// The next step for ended incarnations, or the next check whether it may be taken.
    Retire,
    /// The next step that drops traces of removals and resets.
    CleanUp,
    /// A peer that failed may be asked again.
    Retry(NodeId),
    /// A connection was lost and no peer has announced a suspicion yet.
    Suspect(NodeId),
    /// A member's suspicion, its ttl, or the time to remember it is over.
    Member(NodeId),
    /// A caller's time is over, or a peer may be asked again for its ack.
    Acks,
    /// A caller asks for a stable total, so peers are asked for their digests.
    Stable,
    /// The request of this id was not answered.
    Request(u64),
}

/// Every deadline that is set. O(log n) to set, cancel and take.
///
/// Invariant: `due` and `order` hold the same pairs.
#[derive(Default, Debug)]
pub(crate) struct Timers {
    due: BTreeMap<Timer, Duration>,
    /// By time.
    order: BTreeSet<(Duration, Timer)>,
}

impl Timers {
    /// Sets the timer, and drops an earlier setting.
    pub(crate) fn set(&mut self, timer: Timer, at: Duration) {
        self.cancel(timer);
        self.due.insert(timer, at);
        self.order.insert((at, timer));
    }

    /// Sets the timer unless it is due before `at` anyway.
    pub(crate) fn set_by(&mut self, timer: Timer, at: Duration) {
        if self.due.get(&timer).is_none_or(|due| *due > at) {
            self.set(timer, at);
        }
    }

    pub(crate) fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.due.remove(&timer) {
            self.order.remove(&(at, timer));
        }
    }

    pub(crate) fn next(&self) -> Option<Duration> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the earliest timer that is due at `now`.
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<Timer> {
        let (at, timer) = *self.order.first().filter(|(at, _)| *at <= now)?;
        self.order.remove(&(at, timer));
        self.due.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn timers_come_due_in_order_and_once() {
        let mut timers = Timers::default();
        timers.set(Timer::Round, 5 * MS);
        timers.set(Timer::Flush, 3 * MS);
        timers.set(Timer::Round, 4 * MS);
        timers.set_by(Timer::Flush, 9 * MS);
        assert_eq!(timers.next(), Some(3 * MS));
        assert_eq!(timers.take_due(2 * MS), None);
        assert_eq!(timers.take_due(9 * MS), Some(Timer::Flush));
        assert_eq!(timers.take_due(9 * MS), Some(Timer::Round));
        assert_eq!(timers.take_due(9 * MS), None);
        assert_eq!(timers.next(), None);
    }
}
