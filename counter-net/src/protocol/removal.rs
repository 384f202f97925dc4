//! Drops the traces of removals and resets once every enrolled replica holds them.
//!
//! A trace is a part of a cell that records a removal or a reset. `Replica::clean_up` of
//! counter-core drops traces in steps. This module decides when the next step may be taken. It
//! needs the promises of the enrolled replicas, and keeps to a bounded rate.

use std::time::Duration;

use counter_core::{Cleanup, CounterMap, KeyId, ProvenVersions, Replica, ReplicaId, VersionVector};

use super::context::{Context, Timer};
use super::promises::Promises;
use crate::protocol::interface::Alarm;

/// Time between two steps.
const STEP_INTERVAL: Duration = Duration::from_millis(250);
/// The most keys that one step looks at.
const KEYS_A_STEP: usize = 2_000;
/// The number of own tombstones of the first alarm: a few megabytes. Each further alarm comes at
/// twice the number.
const TOMBSTONES_ALARMED: usize = 100_000;

/// This node's progress with its traces.
///
/// Invariant: a step that others need to know of is taken only once every enrolled replica has
/// promised to keep the step before it.
#[derive(Debug, Default)]
pub(super) struct Removal {
    work: Cleanup,
    /// True while the timer of the next step is set.
    is_timer_set: bool,
    /// The promises and state at the last idle step. Until one of them changes, no step is tried.
    idle: Option<(VersionVector, VersionVector)>,
    /// The number of own tombstones at which an alarm is next raised; 0 stands for the first.
    next_alarm: usize,
}

impl Removal {
    /// Sets the timer if there are traces and it is not set. Returns true if it was set. O(1).
    pub(super) fn begin(&mut self, ctx: &mut Context, replica: &Replica) -> bool {
        let begins = !self.is_timer_set && replica.has_traces();
        if begins {
            self.is_timer_set = true;
            ctx.timers.set_by(Timer::CleanUp, ctx.now + STEP_INTERVAL);
        }
        begins
    }

    /// The time of the next step has come. Returns true if there are still traces.
    pub(super) fn is_due(&mut self, replica: &Replica) -> bool {
        self.is_timer_set = false;
        replica.has_traces()
    }

    /// Takes the next step. `proven` names the versions that all replicas have promised. Own
    /// amounts and cells can be dropped without promises. Returns the counters whose value changed,
    /// or `None` if nothing did.
    pub(super) fn clean_up(
        &mut self,
        replica: &mut Replica,
        proven: &ProvenVersions,
    ) -> Option<Vec<KeyId>> {
        let at = (proven.by_all.clone(), replica.map().version_vector());
        if self.idle.as_ref() == Some(&at) {
            return None;
        }
        let changed = replica.clean_up(&mut self.work, proven, KEYS_A_STEP);
        if changed.is_none() {
            self.idle = Some(at);
        }
        changed
    }

    /// The enrolled replicas whose promises are missing.
    pub(super) fn missing(
        &self,
        ctx: &Context,
        map: &CounterMap,
        promises: &Promises,
    ) -> Vec<ReplicaId> {
        promises.lacking(map, ctx.own, &self.work.awaited(map))
    }

    /// Raises an alarm if many own tombstones wait for promises.
    pub(super) fn alarm_if_many(
        &mut self,
        ctx: &mut Context,
        map: &CounterMap,
        promises: &Promises,
    ) {
        let count = map.tombstones_of(ctx.own);
        if self.take_alarm(count) {
            let waits_for = self.missing(ctx, map, promises).first().copied();
            ctx.out.alarm(Alarm::TombstonesKept { count, waits_for });
        }
    }

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
