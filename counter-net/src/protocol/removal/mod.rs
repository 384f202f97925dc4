//! Traces of removals and resets are taken back once all replicas hold them.
//!
//! counter-core writes the steps, see `Replica::clean_up`. This folder decides when each may be
//! taken: from the promises of the enrolled replicas, at a bounded rate.

mod clean_up;

use counter_core::{Cleanup, VersionVector};

/// The number of own tombstones of the first alarm: a few megabytes. Each further alarm comes at
/// twice the number.
const TOMBSTONES_ALARMED: usize = 100_000;

/// This node's progress with its traces.
#[derive(Debug, Default)]
pub(super) struct Removal {
    work: Cleanup,
    /// True while the timer of the next step is set.
    is_set: bool,
    /// The promises and state at the last idle step. Until one of them changes, no step is tried.
    idle: Option<(VersionVector, VersionVector)>,
    /// The number of own tombstones at which an alarm is next raised; 0 stands for the first.
    next_alarm: usize,
}

impl Removal {
    /// Returns true if this many tombstones call for an alarm now, and sets the bound of the next
    /// one. Once they are few again, the next alarm is the first one.
    fn take_alarm(&mut self, tombstones: usize) -> bool {
        let next = self.next_alarm.max(TOMBSTONES_ALARMED);
        if tombstones < next {
            self.next_alarm = if tombstones < TOMBSTONES_ALARMED { 0 } else { self.next_alarm };
            return false;
        }
        self.next_alarm = 2 * tombstones;
        true
    }
}
