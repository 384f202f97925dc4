//! The steps of a clean-up, and the digests that it needs.

use std::time::Duration;

use counter_core::{Flushed, Replica, Shown};

use crate::protocol::context::Timer;
use crate::protocol::output::{Alarm, Notice};
use crate::protocol::replicator::Replicator;
use crate::protocol::stability::WaitsFor;

/// Time between two steps.
const STEP_INTERVAL: Duration = Duration::from_millis(250);
/// The most keys that one step looks at.
const KEYS_A_STEP: usize = 2_000;

impl Replicator {
    /// Sets the timer if there are traces and it is not set. O(1).
    pub(crate) fn look_for_traces(&mut self, replica: &Replica) {
        if !self.removal.is_set && replica.has_traces() && !self.leaving {
            self.removal.is_set = true;
            self.promises.want(WaitsFor::Removal, true);
            self.ctx.timers.set_by(Timer::CleanUp, self.ctx.now + STEP_INTERVAL);
        }
    }

    /// Takes the next step, and comes back while there are traces.
    pub(crate) fn on_clean_up(&mut self, replica: &mut Replica) {
        self.removal.is_set = false;
        if self.leaving || !replica.has_traces() {
            return self.promises.want(WaitsFor::Removal, false);
        }
        self.look_for_traces(replica);
        if replica.map().is_ended(self.ctx.own) || !self.is_synced() || !self.in_touch() {
            return;
        }
        let own =
            self.commits.promised().cloned().unwrap_or_else(|| replica.map().version_vector());
        // Own amounts and cells can be dropped without promises.
        let shown = self.promises.of_all(replica.map(), self.ctx.own, own).unwrap_or_default();
        self.clean_up(replica, &shown);
        self.ask_for_promises(replica);
        let tombstones = replica.map().tombstones_of(self.ctx.own);
        if self.removal.take_alarm(tombstones) {
            let versions = self.removal.work.awaited(replica.map());
            let without = self.promises.without(replica.map(), self.ctx.own, &versions);
            let waits_for = without.first().copied();
            self.ctx.out.alarm(Alarm::TombstonesKept { count: tombstones, waits_for });
        }
    }

    fn clean_up(&mut self, replica: &mut Replica, shown: &Shown) {
        let at = (shown.by_all.clone(), replica.map().version_vector());
        if self.removal.idle.as_ref() == Some(&at) {
            return;
        }
        match replica.clean_up(&mut self.removal.work, shown, KEYS_A_STEP) {
            None => self.removal.idle = Some(at),
            Some(changed) => {
                self.publish_own(replica, &Flushed::default());
                // The state hash moved, even where no value did.
                self.ctx.out.notify(Notice::Changed { keys: Vec::new() });
                self.ctx.out.changed(changed);
            }
        }
    }

    /// Asks connected peers whose promises are missing for their digests, unless a replica that is
    /// out of reach holds the clean-up back anyway.
    fn ask_for_promises(&mut self, replica: &Replica) {
        let versions = self.removal.work.awaited(replica.map());
        let without = self.promises.without(replica.map(), self.ctx.own, &versions);
        let count = without.len();
        let peers = self.connected(without);
        if peers.len() == count {
            self.ask_digests(replica, peers);
        }
    }
}
